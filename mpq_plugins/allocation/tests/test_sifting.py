"""The relaxation from a few candidates against that of all of them."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sparse

from mpq_plugins.allocation import highs, sifting
from mpq_plugins.allocation.knapsack import Knapsack


@pytest.fixture(autouse=True)
def sift_all(monkeypatch):
    monkeypatch.setattr(sifting, "_LARGE", 0)


def knapsack(decisions, rows, seed, tightness):
    """Decisions of 1 to 6 candidates with random losses and costs, some of them 0; limits between least and most."""
    rng = np.random.default_rng(seed)
    block = np.repeat(np.arange(decisions), rng.integers(1, 7, decisions))
    starts = np.flatnonzero(np.diff(block, prepend=-1))
    costs = np.exp(rng.normal(0, 1, (rows, len(block)))) * (rng.random((rows, len(block))) < 0.9)
    least, most = (f.reduceat(costs, starts, axis=1).sum(axis=1) for f in (np.minimum, np.maximum))
    limits = least + tightness * (most - least)
    ends = np.zeros((0, 2), dtype=np.intp)
    return Knapsack(rng.exponential(10.0, len(block)), block, ends, sparse.csc_matrix(costs), limits)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("rows", [1, 3, 20])
def test_value_and_prices_are_those_of_all_candidates(rows, seed, monkeypatch):
    problem = knapsack(400, rows, seed, 0.4)
    expected = highs.relax(problem, problem.regret)
    sizes = []
    relax = highs.relax
    monkeypatch.setattr(sifting, "relax", lambda p, loss: sizes.append(p.columns) or relax(p, loss))
    found = sifting.relaxation(problem, problem.regret)
    assert found.value == pytest.approx(expected.value, rel=1e-9)
    np.testing.assert_allclose(found.prices, expected.prices, rtol=1e-7, atol=1e-9)
    assert max(sizes) < problem.columns / 2


@pytest.mark.parametrize("tightness", [0.0, 0.02, 0.5])
@pytest.mark.parametrize("seed", range(4))
def test_a_handful_of_decisions_has_the_value_of_all_candidates(seed, tightness):
    problem = knapsack(1 + seed, 2, seed, tightness)
    expected, found = highs.relax(problem, problem.regret), sifting.relaxation(problem, problem.regret)
    assert (found is None) == (expected is None)
    if expected is not None:
        assert found.value == pytest.approx(expected.value, rel=1e-9, abs=1e-9)


def test_limits_that_cannot_be_met_together_have_no_relaxation():
    problem = knapsack(50, 3, 0, -0.01)
    assert sifting.relaxation(problem, problem.regret) is None

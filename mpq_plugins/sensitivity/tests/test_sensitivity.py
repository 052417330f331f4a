import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import rel_entr, softmax

from mpq_plugins.allocation.by_bits import non_increasing
from mpq_plugins.errors import MPQError, NonFiniteValues
from mpq_plugins.sensitivity.formulas import (
    fisher_directions,
    kl_divergence,
    noise_to_signal,
    predicted_loss,
)

MANY = settings(max_examples=50, deadline=None)
SEEDS = st.integers(0, 2**32 - 1)
COSTS = st.dictionaries(st.integers(2, 8), st.floats(-1, 1e6), min_size=1)


@MANY
@given(SEEDS, st.sampled_from([1.0, 4.0]))
def test_kl_divergence_is_scipys_relative_entropy(seed, temperature):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, 7, 10)) * 5
    p, q = softmax(a / temperature, axis=1), softmax(b / temperature, axis=1)
    expected = rel_entr(p, q).sum(axis=1).mean()
    assert kl_divergence(a, b, temperature) == pytest.approx(expected, rel=1e-9)


@MANY
@given(SEEDS, st.floats(-100, 100))
def test_kl_divergence_ignores_what_softmax_ignores_and_never_is_negative(seed, shift):
    a, b = np.random.default_rng(seed).normal(size=(2, 3, 4)) * 300
    assert kl_divergence(a, b) == pytest.approx(kl_divergence(a + shift, b - shift), rel=1e-6, abs=1e-9)
    assert kl_divergence(a, a + shift) == pytest.approx(0, abs=1e-9)
    assert kl_divergence(a, b) >= 0


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_directions_have_the_fisher_matrix_as_second_moment_over_all_signs(temperature):
    logits = np.array([1.0, -2.0, 0.5, 3.0])
    signs = np.array(list(itertools.product([-1, 1], repeat=4)))
    v = fisher_directions(np.tile(logits, (len(signs), 1)), signs, temperature)
    p = softmax(logits / temperature)
    np.testing.assert_allclose(v.T @ v / len(v), np.diag(p) - np.outer(p, p), atol=1e-12)


@MANY
@given(SEEDS)
def test_the_prediction_is_the_kl_divergence_of_a_softmax_layer_to_second_order(seed):
    rng = np.random.default_rng(seed)
    x, weight = rng.normal(size=5), rng.normal(size=(4, 5))
    p = softmax(weight @ x)
    change = 1e-3 * rng.normal(size=weight.shape)
    predicted = predicted_loss(weight + change, weight, np.outer(x, x), np.diag(p) - np.outer(p, p))
    measured = kl_divergence([weight @ x], [(weight + change) @ x])
    assert predicted == pytest.approx(measured, rel=0.05, abs=1e-12)


@MANY
@given(SEEDS, st.sampled_from([1, 2, 4]))
def test_groups_add_up_and_a_diagonal_fisher_may_be_given_as_a_vector(seed, groups):
    rng = np.random.default_rng(seed)
    change, factor = rng.normal(size=(4, 3)), rng.normal(size=(groups, 3, 3))
    curvature = factor @ factor.transpose(0, 2, 1)
    g = rng.normal(size=(4, 4))
    fisher = g @ g.T
    rows = 4 // groups
    parts = [slice(k * rows, (k + 1) * rows) for k in range(groups)]
    alone = sum(0.5 * np.trace(fisher[s, s] @ change[s] @ curvature[k] @ change[s].T) for k, s in enumerate(parts))
    zero = np.zeros_like(change)
    assert predicted_loss(change, zero, curvature, fisher) == pytest.approx(alone, rel=1e-9)
    diagonal = predicted_loss(change, zero, curvature, np.diag(np.diag(fisher)))
    assert predicted_loss(change, zero, curvature, np.diag(fisher)) == pytest.approx(diagonal, rel=1e-9)


@MANY
@given(COSTS)
def test_repaired_costs_never_rise_with_bits_and_change_no_more_than_needed(cost):
    repaired = non_increasing(cost)
    assert list(repaired) == list(cost)
    ordered = [repaired[b] for b in sorted(repaired)]
    assert all(a >= b >= 0 for a, b in itertools.pairwise([*ordered, 0]))
    for bits in cost:
        assert repaired[bits] == max(0.0, *(cost[b] for b in cost if b >= bits), 0.0)
    assert non_increasing(repaired) == repaired


def test_noise_to_signal_is_relative_and_defined_for_constant_outputs():
    signal = np.array([[1.0], [-1.0]])
    assert noise_to_signal(signal, signal * 1.5) == 0.25
    assert noise_to_signal(signal * 8, signal * 12) == 0.25
    assert noise_to_signal(np.ones(3), np.ones(3)) == 0
    assert noise_to_signal(np.ones(3), np.zeros(3)) == np.inf


def test_values_that_are_no_numbers_are_refused():
    with pytest.raises(NonFiniteValues, match="logits"):
        kl_divergence([[np.nan, 0.0]], [[0.0, 0.0]])
    with pytest.raises(NonFiniteValues, match="outputs"):
        noise_to_signal([1.0, 2.0], [np.inf, 2.0])
    with pytest.raises(NonFiniteValues, match="3 bits"):
        non_increasing({3: float("nan"), 4: 0.0})
    with pytest.raises(MPQError, match=r"\(2,\).*\(3,\)"):
        fisher_directions(np.zeros(3), np.ones(2))

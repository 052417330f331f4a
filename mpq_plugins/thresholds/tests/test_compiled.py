"""The compiled loops (plain Python where numba is missing) against NumPy and brute force."""

from __future__ import annotations

import numpy as np
import pytest

from mpq_plugins.tests.brute_force import KINDS, brute_force
from mpq_plugins.thresholds import compiled, loops
from mpq_plugins.thresholds.collecting import collect
from mpq_plugins.thresholds.float_bins import FloatBins
from mpq_plugins.thresholds.halvings import Halvings
from mpq_plugins.thresholds.histogram import Histogram
from mpq_plugins.thresholds.search import error_table

DTYPES = [np.float32, np.float64]


@pytest.fixture
def loops_for_all(monkeypatch):
    """Every array goes through the loops, compiled or not."""
    monkeypatch.setattr(compiled, "WORTH_LOADING", 0)
    monkeypatch.setattr(loops, "COMPILED", True)


def rows_of(dtype):
    """Values of both signs and many sizes, on and off grids, zeros of both signs, some below every bin."""
    rng = np.random.default_rng(7)
    x = rng.standard_normal((3, 1100)) * rng.choice([1e-7, 0.01, 0.3, 2.0], (3, 1100))
    x[:, ::7] = np.round(x[:, ::7] * 32) / 32
    x[:, ::31] = -0.0
    return x.astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weighted", [False, True])
def test_the_loops_fill_the_bins_that_numpy_fills(dtype, weighted):
    x, bins = rows_of(dtype), FloatBins(5, -12, 17)
    weights = np.random.default_rng(8).random(x.shape) if weighted else None
    found, expected = compiled.moments(x, weights, bins), collect(x, bins, weights)
    exact = dtype is np.float32 and not weighted
    for name in ("count", "first", "second", "small"):
        rtol = 0.0 if exact and name != "small" else 1e-13
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=rtol, err_msg=name)
    assert found.small[..., 0].all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weighted", [False, True])
def test_the_loops_halve_as_numpy_does(dtype, weighted):
    x, bins = rows_of(dtype), FloatBins(5, -12, 17)
    weights = np.random.default_rng(9).random(x.shape) if weighted else None
    moments = collect(x, bins, weights)
    expected = Halvings.of(moments.count, moments.first, moments.second)
    found, small = compiled.halved(x, weights, bins)
    np.testing.assert_allclose(found.columns, expected.columns, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(found.squared, expected.squared, rtol=1e-13)
    np.testing.assert_allclose(small, moments.small, rtol=1e-13)


@pytest.mark.usefixtures("loops_for_all")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("metric", ["mse", "mae"])
def test_their_tables_equal_brute_force(metric, kind):
    x = rows_of(np.float32)[:1]
    weights = np.random.default_rng(10).random(x.shape)
    bits, exponents = range(1 + kind[1], 9), [-3, -1, 0, 3]
    for w in (None, weights):
        table = error_table(x, bits, exponents, kind[0], metric, narrow=kind[1], weights=w)
        expected = brute_force(x, bits, exponents, *kind, metric, w)
        np.testing.assert_allclose(table.error, expected, rtol=1e-12)


@pytest.mark.usefixtures("loops_for_all")
def test_a_stream_through_the_loops_is_the_stream_without(monkeypatch):
    streams = []
    for worth in (0, 1 << 60):
        monkeypatch.setattr(compiled, "WORTH_LOADING", worth)
        histogram = Histogram()
        for scale in (0.1, 3.0):
            histogram.update(rows_of(np.float32) * np.float32(scale))
        streams.append(histogram.to_dict())
    assert streams[0] == streams[1]


def test_small_arrays_do_not_load_the_compiler():
    assert not compiled.is_worth_it(compiled.WORTH_LOADING - 1)
    assert compiled.is_worth_it(compiled.WORTH_LOADING) == loops.COMPILED

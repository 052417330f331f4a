"""error_table and search_threshold against brute force, and on bad or borderline input."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mpq_plugins.errors import EmptyCalibration, GridError, NonFiniteValues, ThresholdError
from mpq_plugins.tests.brute_force import KINDS, arrays, brute_force, kinds
from mpq_plugins.thresholds.candidate_grids import CandidateGrids
from mpq_plugins.thresholds.collecting import collect
from mpq_plugins.thresholds.float_bins import FloatBins, octave_above
from mpq_plugins.thresholds.octave_errors import error_sums, octave_sums
from mpq_plugins.thresholds.search import error_table, search_threshold, search_thresholds


@pytest.mark.parametrize("metric", ["mse", "mae", "lp"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@settings(max_examples=60, deadline=None)
@given(data=st.data(), kind=kinds)
def test_every_entry_equals_brute_force(metric, dtype, data, kind):
    x = data.draw(arrays(dtype=dtype))
    bits, exponents = (2, 3, 5, 8), range(-7, 1)
    table = error_table(x, bits, exponents, kind[0], metric, narrow=kind[1])
    np.testing.assert_allclose(table.error, brute_force(x, bits, exponents, *kind, metric), rtol=1e-12)


@pytest.mark.parametrize("power", [1, 2])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@settings(max_examples=60, deadline=None)
@given(data=st.data(), kind=kinds)
def test_bin_moments_give_every_entry_exactly(power, dtype, data, kind):
    x = data.draw(arrays((1, 12), dtype=dtype))
    weights = data.draw(hnp.arrays(np.float64, (1, 12), elements=st.sampled_from([0.0, 0.25, 1.0, 3.7])))
    weights[0, 0] = 1.0
    bits, exponents = (2, 3, 5, 8), range(-7, 1)
    grids = CandidateGrids.of(bits, exponents, *kind)
    lowest = grids.finest_half_step
    bins = FloatBins(7 + (not kind[0]), lowest, max(octave_above(float(np.abs(x).max())) - lowest, 1))
    metric = {1: "mae", 2: "mse"}[power]
    for w in (None, weights):
        sums = error_sums(octave_sums(collect(x, bins, w), grids.shifts, power), grids, power)[0]
        expected = brute_force(x, bits, exponents, *kind, metric, w) * (x.size if w is None else w.sum())
        np.testing.assert_allclose(sums, expected, rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("metric", ["mse", "mae", "lp"])
def test_long_arrays_equal_brute_force(metric, kind):
    rng = np.random.default_rng(1)
    x = (rng.standard_normal(70_000) * rng.choice([0.01, 0.3, 2.0], 70_000)).astype(np.float32)
    x[::7] = np.round(x[::7] * 32) / 32
    weights = rng.random(x.size)
    bits, exponents = range(1 + kind[1], 9), [-9, -3, -1, 0, 3]
    for w in (None, weights):
        table = error_table(x, bits, exponents, kind[0], metric, narrow=kind[1], weights=w)
        expected = brute_force(x, bits, exponents, *kind, metric, w)
        np.testing.assert_allclose(table.error, expected, rtol=1e-11)


@pytest.mark.parametrize("signed", [True, False])
def test_sixteen_bits_equal_brute_force(signed):
    x = np.random.default_rng(2).standard_normal(60_000).astype(np.float32)
    table = error_table(x, [1, 12, 16], [-2, 1, 3], signed)
    np.testing.assert_allclose(table.error, brute_force(x, [1, 12, 16], [-2, 1, 3], signed, False), rtol=1e-11)


@pytest.mark.parametrize("metric", ["mse", "mae", "lp", "kl", "no_clipping"])
@pytest.mark.parametrize("n", [5, 3000])
def test_a_channel_has_the_table_that_it_has_alone(metric, n):
    x = np.random.default_rng(3).standard_normal((3, 4, n)).astype(np.float32)
    x *= np.array([1.0, 0.01, 0.3, 0.0], dtype=np.float32)[:, None]
    table = error_table(x, [2, 4, 8], range(-6, 2), metric=metric, axis=1)
    assert table.error.shape == (3, 8, 4)
    for channel in range(4):
        alone = error_table(x[:, channel], [2, 4, 8], range(-6, 2), metric=metric)
        np.testing.assert_allclose(table.error[..., channel], alone.error, rtol=1e-11, atol=1e-14)
    assert table.best(4).channels == 4
    np.testing.assert_array_equal(table.best_error(4), table.error[1].min(axis=0))


def test_weights_may_be_given_per_channel_by_broadcasting():
    x = np.random.default_rng(4).standard_normal((2, 50))
    table = error_table(x, axis=0, weights=np.array([[1.0], [5.0]]))
    np.testing.assert_allclose(table.error, error_table(x, axis=0).error, rtol=1e-13)


def test_an_all_zero_tensor_gets_threshold_one():
    for metric in ("mse", "mae", "lp", "kl", "no_clipping"):
        grid = search_threshold(np.zeros((3, 2)), 4, metric=metric)
        assert grid.threshold == 1.0
        assert not np.isnan(error_table(np.zeros(3), metric=metric).error).any()


def test_an_all_zero_channel_gets_the_smallest_threshold_of_the_others():
    x = np.array([[0.0, 0.0], [0.9, -0.8], [6.0, 7.0]])
    assert search_threshold(x, 8, axis=0).exponents == (0, 0, 3)
    assert search_threshold(x * 0, 8, axis=0).exponents == (0, 0, 0)
    assert search_threshold(x, 8, axis=0, weights=[[1.0], [1.0], [0.0]]).exponents == (0, 0, 0)


def test_an_unsigned_grid_is_searched_for_the_values_above_zero():
    x = np.array([-50.0, 0.4, 0.3, -1.0])
    assert search_threshold(x, 8, signed=False).exponent == -1
    assert search_threshold(-np.abs(x), 8, signed=False).exponent == 0


def test_denormal_and_huge_tensors_are_searched_like_others():
    x = np.random.default_rng(9).standard_normal((4, 300)).astype(np.float32)
    for scale in (2.0**-140, 2.0**100):
        scaled = (x * np.float64(scale)).astype(np.float32)
        for axis in (None, 0):
            grid = search_threshold(scaled, 2, axis=axis)
            expected = np.array(search_threshold(x, 2, axis=axis).exponents) + int(math.log2(scale))
            np.testing.assert_array_equal(grid.exponents, expected)


@pytest.mark.parametrize("function", [error_table, lambda x: search_threshold(x, 4)])
def test_nan_and_infinity_are_counted_in_the_message(function):
    with pytest.raises(NonFiniteValues, match="2 NaN and 1 infinite among 5 values"):
        function(np.array([1.0, np.nan, np.nan, np.inf, 0.0]))


@pytest.mark.parametrize("function", [error_table, lambda x: search_threshold(x, 4, axis=0)])
def test_an_empty_array_is_refused(function):
    with pytest.raises(EmptyCalibration, match=r"shape \(0, 3\) has no element"):
        function(np.zeros((0, 3)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"metric": "msse"}, "no metric 'msse'; there are mse, mae, lp, kl, no_clipping"),
        ({"metric": "lp", "p": 0.5}, "p of 1 or more, got 0.5"),
        ({"axis": 2}, "axis 2 does not exist in a tensor of 2 dimensions"),
        ({"weights": np.ones(7)}, r"weights of shape \(7,\) do not fit values of shape \(2, 3\)"),
        ({"weights": -np.ones((2, 3))}, "weights must be 0 or more, the smallest is -1"),
        ({"weights": np.ones((2, 3)), "metric": "kl"}, "kl takes no weights"),
        ({"bits": []}, "at least one bit-width"),
        ({"exponents": [1, 1]}, "must not repeat"),
        ({"exponents": [-2000]}, "from -900 to 900"),
    ],
)
def test_impossible_questions_are_refused_by_name(arguments, message):
    with pytest.raises(ThresholdError, match=message):
        error_table(np.ones((2, 3)), **arguments)


def test_bits_that_no_grid_has_and_bits_not_in_the_table_are_refused():
    with pytest.raises(GridError, match="from 1 to 16"):
        error_table(np.ones(3), bits=[17])
    with pytest.raises(ThresholdError, match="not 5"):
        error_table(np.ones(3), bits=[4]).best(5)


def test_integers_half_floats_and_strided_arrays_are_taken():
    x = np.arange(-20, 20).reshape(4, 10)
    expected = brute_force(x, range(2, 9), range(-7, 6), True, False)
    for array in (x, x.astype(np.float16), x.astype(np.float32)[:, ::-1], x.T.astype(">f4")):
        np.testing.assert_allclose(error_table(array, exponents=range(-7, 6)).error, expected, rtol=1e-13)


def test_a_table_of_a_long_tensor_needs_less_than_three_times_its_memory():
    x = np.random.default_rng(10).standard_normal((64, 32768)).astype(np.float32)
    for axis in (None, 0):
        tracemalloc.start()
        error_table(x, axis=axis)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 3 * x.nbytes


@pytest.mark.parametrize("axis", [0, None])
@pytest.mark.parametrize("shape", [(5, 9), (3, 700)])
def test_thresholds_of_several_bit_widths_are_those_searched_one_by_one(axis, shape):
    x = np.random.default_rng(0).standard_t(4, size=shape)
    found = search_thresholds(x, range(2, 9), axis=axis, narrow=True)
    assert found == {bits: search_threshold(x, bits, axis=axis, narrow=True) for bits in range(2, 9)}

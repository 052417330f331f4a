"""Histogram: a stream in constant memory, and error tables read off it."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mpq_plugins.errors import EmptyCalibration, NonFiniteValues, RecipeError, ThresholdError
from mpq_plugins.grid import Grid
from mpq_plugins.thresholds.histogram import Histogram
from mpq_plugins.thresholds.search import error_table, search_threshold

values = st.one_of(
    st.integers(-(2**9), 2**9).map(lambda k: k / 64),
    st.floats(-5.0, 5.0, width=32),
    st.sampled_from([0.0, -0.0, 300.0, -1e4, 2.0**-12]),
)
streams = st.lists(hnp.arrays(np.float32, st.integers(0, 12), elements=values), min_size=1, max_size=5)
far_apart = st.one_of(values, st.sampled_from([3e-9, -(2.0**-30), 2.0**33, -1e-20, 1e25]))
wide_streams = st.lists(hnp.arrays(np.float32, st.integers(0, 12), elements=far_apart.map(np.float32)), min_size=1)
kinds = st.sampled_from([(True, False), (True, True), (False, False)])


def histogram_of(*arrays: np.ndarray, resolution: int = 8) -> Histogram:
    histogram = Histogram(resolution)
    for array in arrays:
        histogram.update(array)
    return histogram


def assert_same(a: Histogram, b: Histogram) -> None:
    assert (a.count, a.zeros, a.min, a.max) == (b.count, b.zeros, b.min, b.max)
    if a.moments is None or b.moments is None:
        assert a.moments is b.moments
        return
    assert a.moments.bins == b.moments.bins
    np.testing.assert_array_equal(a.moments.count, b.moments.count)
    np.testing.assert_array_equal(a.moments.small[..., 0], b.moments.small[..., 0])
    for name in ("first", "second", "small"):
        np.testing.assert_allclose(getattr(a.moments, name), getattr(b.moments, name), rtol=1e-12)


@settings(max_examples=80, deadline=None)
@given(stream=streams, kind=kinds, metric=st.sampled_from(["mse", "mae", "kl", "no_clipping"]))
def test_a_histogram_gives_the_table_of_the_whole_stream(stream, kind, metric):
    whole = np.concatenate(stream)
    if not whole.size:
        return
    bits = range(2, 9) if metric != "kl" else range(2, 6)
    exponents = range(-5, 3)
    found = error_table(histogram_of(*stream), bits, exponents, kind[0], metric, narrow=kind[1])
    exact = error_table(whole, bits, exponents, kind[0], metric, narrow=kind[1])
    np.testing.assert_allclose(found.error, exact.error, rtol=1e-12, atol=1e-13)


@settings(max_examples=60, deadline=None)
@given(stream=streams, kind=kinds, p=st.sampled_from([1.0, 1.5, 2.0, 2.4, 3.0]))
def test_lp_of_a_histogram_is_within_its_documented_bound(stream, kind, p):
    x = np.concatenate(stream).astype(np.float64)
    if not x.size:
        return
    bits, exponents = [2, 4, 8], [-3, 0, 2]
    found = error_table(histogram_of(*stream), bits, exponents, kind[0], "lp", narrow=kind[1], p=p)
    exact = error_table(x, bits, exponents, kind[0], "lp", narrow=kind[1], p=p)
    for i, b in enumerate(bits):
        for k, e in enumerate(exponents):
            distance = np.abs(x - Grid.power_of_two(b, e, *kind).project(x))
            width = np.ldexp(1.0, np.frexp(x)[1] - 1 - 8) * (x != 0)
            bound = np.mean(p * width * (distance + width) ** (p - 1) / 8)
            slack = 1e-12 * exact.error[i, k]
            assert abs(found.error[i, k] - exact.error[i, k]) <= bound + slack


def test_lp_of_a_histogram_is_close_on_real_distributions():
    x = np.random.default_rng(0).laplace(size=30_000).astype(np.float32)
    found = error_table(histogram_of(x), range(2, 9), range(-2, 4), metric="lp").error
    exact = error_table(x, range(2, 9), range(-2, 4), metric="lp").error
    np.testing.assert_allclose(found, exact, rtol=0.02)


@settings(max_examples=60, deadline=None)
@given(stream=wide_streams, cut=st.integers(0, 5), seed=st.integers(0, 99))
def test_merging_equals_one_stream_in_any_order(stream, cut, seed):
    one = histogram_of(*stream)
    left, right = histogram_of(*stream[:cut]), histogram_of(*stream[cut:])
    shuffled = np.random.default_rng(seed).permutation(np.concatenate(stream))
    assert_same(left.merge(right), one)
    assert_same(right.merge(left), one)
    assert_same(histogram_of(shuffled), one)


def test_merging_leaves_both_parts_as_they_were():
    left, right = histogram_of(np.array([1.0, 2.0])), histogram_of(np.array([-100.0]))
    before = left.to_dict(), right.to_dict()
    left.merge(right).update(np.array([1e6]))
    assert (left.to_dict(), right.to_dict()) == before


def test_histograms_of_different_resolutions_do_not_merge():
    with pytest.raises(ThresholdError, match="of resolution 8 and 9 do not merge"):
        Histogram().merge(Histogram(9))
    with pytest.raises(ThresholdError, match="from 4 to 16 bits, got 3"):
        Histogram(3)


def test_extremes_count_and_zeros_are_exact():
    x = np.random.default_rng(1).standard_normal(10_000).astype(np.float32)
    x[::5] = 0
    histogram = histogram_of(x[:3000], x[3000:])
    assert histogram.count == 10_000
    assert histogram.zeros == 2000
    assert histogram.min == x.min()
    assert histogram.max == x.max()


def test_memory_does_not_grow_with_the_stream_or_its_range():
    histogram = Histogram()
    sizes = set()
    for k in range(40):
        histogram.update(np.random.default_rng(k).standard_normal(500) * 10.0 ** (k / 2 - 10))
        assert histogram.moments is not None
        sizes.add(sum(getattr(histogram.moments, n).nbytes for n in ("count", "first", "second", "small")))
    assert len(sizes) == 1
    assert sizes.pop() < 400_000


def test_growth_keeps_the_table_exact():
    rng = np.random.default_rng(2)
    parts = [(rng.standard_normal(2000) * s).astype(np.float32) for s in (1e-6, 1e-3, 1.0, 40.0)]
    found = error_table(histogram_of(*parts), exponents=range(-3, 6))
    np.testing.assert_allclose(
        found.error, error_table(np.concatenate(parts), exponents=range(-3, 6)).error, rtol=1e-12
    )


@pytest.mark.parametrize("metric", ["mse", "mae", "lp"])
def test_values_far_below_the_largest_keep_their_share_of_the_error(metric):
    small = np.array([3e-9, -2e-9, 1e-12], dtype=np.float32)
    large = np.full(3, 64.0, dtype=np.float32)
    expected = {"mse": np.square, "mae": np.abs, "lp": lambda v: np.abs(v) ** 2.0}[metric](
        small.astype(np.float64)
    ).sum()
    for histogram in (histogram_of(small, large), histogram_of(large, small), histogram_of(small, small, large)):
        found = error_table(histogram, [4, 8], [7], metric=metric, p=2.0).error * histogram.count
        share = (histogram.count - 3) / 3
        # 64 lies on both grids and costs nothing; lp knows the small ones to its bound only
        end = 2.0 ** (7 - 32)
        slack = histogram.count * 2.0 * end**2 / 8 if metric == "lp" else 0.0
        np.testing.assert_allclose(found, share * expected, rtol=1e-12, atol=slack)


@settings(max_examples=40, deadline=None)
@given(stream=wide_streams)
def test_a_checkpoint_restores_the_histogram_through_json(stream):
    histogram = histogram_of(*stream)
    restored = Histogram.from_dict(json.loads(json.dumps(histogram.to_dict())))
    assert_same(restored, histogram)
    restored.update(np.array([3.5]))
    histogram.update(np.array([3.5]))
    assert_same(restored, histogram)


@pytest.mark.parametrize(
    "state",
    [
        {},
        {"resolution": 99, "count": 0, "zeros": 0},
        {"resolution": 8, "count": 3, "zeros": 0, "bins": [1]},
        {**histogram_of(np.ones(3)).to_dict(), "bins": [1 << 20]},
        {**histogram_of(np.ones(3)).to_dict(), "count": -3},
    ],
)
def test_a_damaged_checkpoint_is_refused(state):
    with pytest.raises(RecipeError, match="no histogram"):
        Histogram.from_dict(state)


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("metric", ["mse", "mae", "kl", "no_clipping"])
def test_search_on_a_histogram_finds_the_grid_of_the_array(bits, signed, metric):
    x = np.random.default_rng(3).laplace(size=20_000).astype(np.float32)
    x = x if signed else np.maximum(x, 0)
    assert search_threshold(histogram_of(x), bits, signed, metric) == search_threshold(x, bits, signed, metric)


def test_float64_streams_are_as_exact_as_float32_ones():
    x = np.random.default_rng(4).standard_normal(5000) * 0.3
    np.testing.assert_allclose(error_table(histogram_of(x)).error, error_table(x).error, rtol=1e-12)


def test_tiny_and_huge_streams_are_kept():
    for scale in (1e-42, 1e-30, 1e30):
        x = (np.random.default_rng(5).standard_normal(2000) * scale).astype(np.float32)
        assert search_threshold(histogram_of(x), 4) == search_threshold(x, 4)


def test_nan_and_infinity_are_refused_and_nothing_is_added():
    histogram = histogram_of(np.ones(3))
    with pytest.raises(NonFiniteValues, match="1 NaN and 2 infinite among 4 values"):
        histogram.update(np.array([np.nan, np.inf, -np.inf, 1.0]))
    assert histogram.count == 3


def test_an_empty_histogram_has_no_table():
    histogram = histogram_of(np.zeros(0))
    for ask in (error_table, lambda h: search_threshold(h, 4), lambda h: search_threshold(h, 4, metric="kl")):
        with pytest.raises(EmptyCalibration, match="seen no value"):
            ask(histogram)


@pytest.mark.parametrize("metric", ["mse", "lp", "kl", "no_clipping"])
def test_a_stream_of_zeros_gets_threshold_one(metric):
    histogram = histogram_of(np.zeros(10))
    assert not error_table(histogram, metric=metric).error.any()
    assert search_threshold(histogram, 4, metric=metric).threshold == 1.0


def test_more_bits_than_the_resolution_serves_are_refused_with_the_way_out():
    x = np.random.default_rng(6).standard_normal(100)
    with pytest.raises(ThresholdError, match=r"use Histogram\(resolution=11\)"):
        error_table(histogram_of(x), bits=[12])
    wide = error_table(histogram_of(x, resolution=11), bits=[12])
    np.testing.assert_allclose(wide.error, error_table(x, bits=[12]).error, rtol=1e-12)


def test_thresholds_too_small_for_the_stream_are_refused_with_the_smallest():
    histogram = histogram_of(np.array([1e6, 1e-6]))
    with pytest.raises(ThresholdError, match=r"up to 1e\+06; it resolves thresholds from 2\*\*-4"):
        error_table(histogram, bits=[8], exponents=[-20])
    assert error_table(histogram, bits=[8], exponents=[-4]).error.all()


def test_a_histogram_has_no_channels():
    with pytest.raises(ThresholdError, match="neither channels nor weights"):
        error_table(histogram_of(np.ones(3)), axis=0)

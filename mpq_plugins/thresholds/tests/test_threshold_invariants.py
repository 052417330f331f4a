"""What must hold of every threshold search, whatever the data."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mpq_plugins.tests.brute_force import arrays, brute_force, kinds
from mpq_plugins.thresholds.search import error_table, search_threshold


@settings(max_examples=60, deadline=None)
@given(x=arrays(), kind=kinds, b=st.integers(2, 8))
def test_search_equals_a_search_over_all_thresholds(x, kind, b):
    found = search_threshold(x, b, kind[0], narrow=kind[1])
    everything = range(-160, 75)
    errors = brute_force(x, [b], everything, *kind)[0]
    assert errors[everything.index(found.exponent)] == pytest.approx(errors.min(), rel=1e-9)


@settings(max_examples=20, deadline=None)
@given(n=st.integers(1, 4000), small=st.integers(-30, -1), b=st.integers(2, 8))
def test_search_lets_one_outlier_go_when_enough_values_are_small(n, small, b):
    x = np.full(n + 1, 2.0**small * 0.77)
    x[0] = 1.0
    everything = range(-45, 5)
    errors = brute_force(x, [b], everything, True, False)[0]
    found = search_threshold(x, b)
    assert errors[everything.index(found.exponent)] == pytest.approx(errors.min(), rel=1e-9)


@settings(max_examples=40, deadline=None)
@given(x=arrays((4, 6)), k=st.integers(-20, 20), b=st.integers(2, 8), axis=st.sampled_from([None, 0, 1]))
def test_scaling_by_a_power_of_two_moves_the_threshold_with_it(x, k, b, axis):
    x = np.where(np.abs(x) < 1e-6, 0, x).astype(np.float64)
    x[:, :] += np.eye(4, 6)
    base, moved = search_threshold(x, b, axis=axis), search_threshold(x * 2.0**k, b, axis=axis)
    assert (np.array(moved.exponents) == np.array(base.exponents) + k)[np.array(base.exponents) != 0].all()
    exponents = range(-6, 2)
    shifted = [e + k for e in exponents]
    np.testing.assert_array_equal(
        error_table(x * 2.0**k, [b], shifted).error, error_table(x, [b], exponents).error * 4.0**k
    )


@settings(max_examples=40, deadline=None)
@given(x=arrays((5, 7)), b=st.integers(2, 8), metric=st.sampled_from(["mse", "mae", "lp", "kl"]))
def test_narrow_tables_do_not_see_the_sign_and_none_sees_the_order(x, b, metric):
    table = error_table(x, [b], metric=metric, narrow=True)
    np.testing.assert_allclose(
        error_table(-x, [b], metric=metric, narrow=True).error, table.error, rtol=1e-12, atol=1e-12
    )
    shuffled = np.random.default_rng(0).permutation(x.ravel())
    np.testing.assert_allclose(
        error_table(shuffled, [b], metric=metric, narrow=True).error, table.error, rtol=1e-12, atol=1e-12
    )


@settings(max_examples=40, deadline=None)
@given(
    x=arrays((3, 8)),
    weights=hnp.arrays(np.float64, (3, 8), elements=st.sampled_from([0.0, 0.5, 1.0, 2.3])),
    factor=st.sampled_from([1e-300, 0.3, 7.0, 1e200]),
    axis=st.sampled_from([None, 0]),
)
def test_scaling_the_weights_leaves_the_choice(x, weights, factor, axis):
    plain = search_threshold(x, 4, weights=weights, axis=axis)
    assert search_threshold(x, 4, weights=weights * factor, axis=axis) == plain


@settings(max_examples=40, deadline=None)
@given(x=arrays((24,)), mask=hnp.arrays(np.bool_, 24), kind=kinds)
def test_weight_zero_is_the_same_as_leaving_an_element_out(x, mask, kind):
    mask[0] = True
    masked = error_table(x, signed=kind[0], narrow=kind[1], weights=mask.astype(np.float64))
    left_out = error_table(x[mask], signed=kind[0], narrow=kind[1])
    np.testing.assert_allclose(masked.error, left_out.error, rtol=1e-12)
    assert search_threshold(x, 3, kind[0], narrow=kind[1], weights=mask) == search_threshold(
        x[mask], 3, kind[0], narrow=kind[1]
    )


def test_an_outlier_mask_changes_the_threshold():
    x = np.concatenate([np.random.default_rng(7).standard_normal(100) * 0.1, [50.0]])
    assert search_threshold(x, 4).exponent >= 5
    assert search_threshold(x, 4, weights=np.abs(x) < 2 * x.std()).exponent <= -1


@settings(max_examples=40, deadline=None)
@given(x=arrays((3, 5)), kind=kinds, b=st.integers(2, 8))
def test_search_per_channel_is_search_on_each_channel(x, kind, b):
    x = x.copy()
    x[:, 0] = 1.0
    found = search_threshold(x, b, kind[0], axis=0, narrow=kind[1]).exponents
    alone = [search_threshold(row, b, kind[0], narrow=kind[1]).exponent for row in x]
    errors = [
        brute_force(row, [b], [ours, theirs], *kind)[0] for row, ours, theirs in zip(x, found, alone, strict=True)
    ]
    for ours, theirs in errors:
        assert ours == pytest.approx(theirs, rel=1e-9)


@pytest.mark.parametrize("metric", ["mse", "mae", "lp", "kl", "no_clipping"])
def test_every_metric_finds_a_grid_that_suits_a_gaussian(metric):
    x = np.random.default_rng(8).standard_normal(5000).astype(np.float32) * 0.1
    assert -3 <= search_threshold(x, 4, metric=metric).exponent <= 0


def test_ties_go_to_the_smallest_threshold_whatever_the_order_of_exponents():
    x = np.array([1.0, -0.5])
    for exponents in ([0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]):
        assert error_table(x, [4], exponents).best(4).exponent == 1

"""Power-of-two steps by squared error: the vectors that the authors of 2210.03671 publish with their quantizers."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from mpq_plugins.array_ops.reference import NUMPY
from mpq_plugins.hardware.op_support import Candidate
from mpq_plugins.training import exponents
from mpq_plugins.training.bank import Bank
from mpq_plugins.training.exponents import Weights
from mpq_plugins.training.slot import Slot

X = np.array([[6.0, 5, 1], [8, 3, -8]])
LAYER = Slot("w", "weight", (2, 3), (Candidate(4, True, False, narrow=True),))
CHANNELS = Slot("w", "weight", (2, 3), (Candidate(4, True, True, narrow=True),), axis=1)


def weights(slot, x, bits):
    """x as a bank of one, at these bits."""
    kind = replace(slot, candidates=tuple(replace(c, bits=bits) for c in slot.candidates))
    bank = Bank.of([kind])
    return Weights(NUMPY, bank, flat(slot, x))


def flat(slot, x):
    return None if x is None else Bank.of([slot]).layout.flat(NUMPY, 0, x)


def rows(exponent):
    return np.reshape(np.asarray(exponent, dtype=float), -1)


def own(slot, values):
    """The result of a bank of one in the slot's own shape."""
    return values.reshape(slot.step_shape)


def elements(slot, values):
    """Rows of elements in the tensor's shape."""
    axis = slot.axis or 0
    moved = (slot.shape[axis], *slot.shape[:axis], *slot.shape[axis + 1 :])
    return np.moveaxis(values.reshape(moved), 0, axis)


def lower(slot, x, exponent, importance=None):
    found = exponents.lower_error_of_two(weights(slot, x, 4), rows(exponent), flat(slot, importance))
    return own(slot, found)


def squared_error(slot, x, exponent, bits, importance):
    return own(slot, exponents.squared_error(weights(slot, x, bits), rows(exponent), flat(slot, importance)))


def least_squares(slot, x, exponent, bits, importance, **options):
    found = exponents.least_squares(weights(slot, x, bits), rows(exponent), flat(slot, importance), **options)
    return own(slot, found)


def within_deviations(slot, x, sigma):
    return elements(slot, exponents.within_deviations(weights(slot, x, 4), sigma))


def within_range(slot, x, exponent, bits):
    return elements(slot, exponents.within_range(weights(slot, x, bits), rows(exponent)))


def moved_moments(slot, x, gradient, moments, exponent, bits):
    return exponents.moved_moments(weights(slot, x, bits), gradient, moments, rows(exponent))


def test_an_exponent_goes_to_the_neighbour_of_lower_error_and_up_in_a_tie():
    assert squared_error(LAYER, X, np.array(0.0), 4, None) == 2
    assert squared_error(LAYER, X, np.array(1.0), 4, None) == 3
    assert lower(LAYER, X, np.log2(1.5)) == 0
    assert squared_error(CHANNELS, X, np.zeros(3), 4, None).tolist() == [1, 0, 1]
    assert squared_error(CHANNELS, X, np.ones(3), 4, None).tolist() == [0, 2, 1]
    assert lower(CHANNELS, X, np.log2([1.5, 1.5, 1.5])).tolist() == [1, 0, 1]
    assert lower(CHANNELS, X, np.log2([2.1, 0.51, 0.251])).tolist() == [1, 0, -1]


def test_masks_and_moments_weigh_the_error():
    y = np.array([[6.6, 5, 1], [8.5, 3, -8]])
    exponent = np.log2([1.1, 0.9, 0.9])
    assert lower(CHANNELS, y, exponent).tolist() == [1, 0, 0]
    in_range = within_range(CHANNELS, y, exponent, 4)
    assert in_range.tolist() == [[1, 1, 1], [0, 1, 0]]
    assert lower(CHANNELS, y, exponent, in_range).tolist() == [0, 0, 0]
    assert lower(CHANNELS, y, exponent, np.array([[2.0, 2, 2], [0, 2, 0]])).tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("slot", "x", "start", "step"),
    [
        (LAYER, X, 1.5, 1),
        (CHANNELS, X, [1.5, 1.5, 1.5], [2, 1, 2]),
        (CHANNELS, np.array([[6, 5, 1], [5, 3, -8.5]]), [0.0012, 3.5, 0.00015], [1, 1, 2]),
    ],
    ids=["layer", "channels", "channels-from-afar"],
)
def test_least_squares_finds_the_published_steps(slot, x, start, step):
    found = least_squares(slot, x, np.rint(np.log2(start)), 4, None)
    assert np.exp2(found).tolist() == step


def test_the_line_search_leaves_the_step_at_which_the_alternation_sticks():
    w = np.array([-0.17, 2.58, -8.75, -3.56, 1.56, -0.15, 2.15, -0.66, 0.49])
    slot = Slot("w", "weight", (9,), (Candidate(4, True, False, narrow=True),))
    stuck = least_squares(slot, w, np.array(0.0), 4, None, line_range=0)
    assert stuck == 0
    assert squared_error(slot, w, stuck, 4, None) == pytest.approx(4.0557, abs=1e-4)
    found = least_squares(slot, w, np.array(0.0), 4, None)
    assert found == 1
    assert squared_error(slot, w, found, 4, None) == pytest.approx(2.0357, abs=1e-4)


def test_outliers_are_counted_in_standard_deviations():
    assert within_deviations(LAYER, X, 1.0).tolist() == [[0, 1, 1], [0, 1, 0]]
    assert within_deviations(LAYER, X, 2.0).tolist() == [[1, 1, 1], [1, 1, 1]]


def test_the_range_at_exponent_0_ends_at_seven_and_a_half():
    assert within_range(LAYER, X, np.array(0.0), 4).tolist() == [[1, 1, 1], [0, 1, 0]]


def test_weighted_sums_of_squares_are_the_published_ones():
    x = np.array([1.2, 0.9, 1, 1.6, 0.3, 1])
    slot = Slot("w", "weight", (6,), (Candidate(4, True, False, narrow=True),))
    assert squared_error(slot, x, np.array(0.0), 4, None) == pytest.approx(0.30)
    weights = np.arange(1.1, 1.65, 0.1)
    assert squared_error(slot, x, np.array(0.0), 4, weights) == pytest.approx(0.415)


def test_moments_blend_squared_gradients_and_leave_out_what_is_clipped():
    x, gradient = np.array([0.5, 0.0, 1.0, 1.5, 1.6, 2.0]), np.full(6, 3.0)
    slot = Slot("w", "weight", (6,), (Candidate(2, True, False, narrow=True),))
    moved = moved_moments(slot, x, gradient, np.ones(6), np.array(0.0), 2)
    # 1.5 rounds to the even code 2, beyond the largest, at a step of exactly 1
    np.testing.assert_allclose(moved, [0.999 + 0.009] * 3 + [0.999] * 3)


WEIGHTS = arrays(np.float64, (12,), elements=st.floats(-4, 4, width=32).filter(lambda v: v == 0 or abs(v) > 1e-3))
FREE = Slot("w", "weight", (12,), (Candidate(3, True, False),))


@given(WEIGHTS, st.integers(-3, 3))
def test_no_search_ends_worse_than_it_began(x, start):
    before = squared_error(FREE, x, np.array(float(start)), 3, None)
    found = least_squares(FREE, x, np.array(float(start)), 3, None)
    assert squared_error(FREE, x, found, 3, None) <= before
    assert found == np.rint(found)


@settings(deadline=None)
@given(WEIGHTS.filter(lambda x: np.abs(x).max() > 0))
def test_a_wide_line_search_is_brute_force(x):
    found = least_squares(FREE, x, np.array(0.0), 3, None, iterations=0, line_range=40)
    errors = {e: squared_error(FREE, x, np.array(float(e)), 3, None) for e in range(-20, 21)}
    assert squared_error(FREE, x, found, 3, None) == min(errors.values())


@given(WEIGHTS, st.floats(-2.5, 2.5))
def test_the_lower_of_two_is_no_worse_than_either(x, exponent):
    found = lower(FREE, x, exponent)
    both = [squared_error(FREE, x, np.array(f(exponent)), 4, None) for f in (np.floor, np.ceil)]
    assert squared_error(FREE, x, found, 4, None) == min(both)


@given(WEIGHTS, st.floats(0.25, 8))
def test_importance_counts_relative_to_itself_alone(x, factor):
    importance = np.linspace(0.5, 2, 12)
    one = least_squares(FREE, x, np.array(0.0), 3, importance, iterations=0)
    other = least_squares(FREE, x, np.array(0.0), 3, importance * 2.0 ** round(np.log2(factor)), iterations=0)
    assert one == other

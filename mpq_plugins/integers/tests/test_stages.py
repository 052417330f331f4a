"""Shifts, divisions and significant bits against exact rational arithmetic."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpq_plugins.integers import stages
from mpq_plugins.integers.steps import Clamp, Divide, Multiply, Shift, Significant

ROUNDINGS = ["half_even", "half_up", "half_away"]
SUMS = st.integers(-(2**31), 2**31 - 1)
near_ties = st.builds(
    lambda whole, amount, off: (whole * 2**amount + 2 ** max(amount - 1, 0) + off, amount),
    st.integers(-300, 300),
    st.integers(1, 20),
    st.integers(-1, 1),
)


def rounded(quotient, rounding):
    """The integer next to a rational number, by the definition of each rule."""
    floor = math.floor(quotient)
    rest = quotient - floor
    if rest != Fraction(1, 2):
        return floor + (rest > Fraction(1, 2))
    if rounding == "half_up":
        return floor + 1
    if rounding == "half_away":
        return floor + (quotient > 0)
    return floor if floor % 2 == 0 else floor + 1


@pytest.mark.parametrize("rounding", ROUNDINGS)
@given(pairs=st.lists(st.one_of(near_ties, st.tuples(SUMS, st.integers(0, 30))), min_size=1), wide=st.booleans())
def test_a_right_shift_is_a_rounded_division_by_a_power_of_two(rounding, pairs, wide):
    values, amounts = (np.array(part) for part in zip(*pairs, strict=True))
    got = stages.shift(values.astype(np.int64 if wide else np.int32), amounts, rounding)
    assert got.tolist() == [rounded(Fraction(int(v), 2 ** int(a)), rounding) for v, a in pairs]


@pytest.mark.parametrize("rounding", ROUNDINGS)
@given(value=st.integers(-(2**44), 2**44), amount=st.integers(-17, 62))
def test_wide_sums_shift_either_way_as_far_as_stages_go(rounding, value, amount):
    got = stages.shift(np.array([value]), amount, rounding)
    assert got.tolist() == [rounded(Fraction(value) / Fraction(2) ** amount, rounding)]


@given(value=SUMS)
def test_channels_may_shift_right_left_and_not_at_all(value):
    got = stages.shift(np.full(3, value, np.int32), [4, -4, 0], "half_even")
    assert got.tolist() == [rounded(Fraction(value, 16), "half_even"), value * 16, value]


@pytest.mark.parametrize("rounding", ROUNDINGS)
@given(value=st.integers(-(2**40), 2**40), count=st.integers(1, 5000))
def test_a_division_rounds_the_exact_quotient(rounding, value, count):
    for near in (value, value // count * count + count // 2):
        assert stages.divide([near], count, rounding).tolist() == [rounded(Fraction(near, count), rounding)]


@given(st.lists(st.integers(-(2**62), 2**62), min_size=1))
def test_24_significant_bits_are_what_float32_keeps_of_an_integer(values):
    exact = [int(np.float32(value)) for value in np.array(values, np.int64)]
    assert stages.significant(np.array(values, np.int64), 24).tolist() == exact


def test_stages_follow_one_another_and_clamp_with_the_upper_bound_last():
    made = (Multiply(3), Divide(2, "half_up"), Significant(4), Shift((1,), "half_even"), Clamp(-5, 6))
    # 7 * 3 = 21; 21 / 2 = 10.5 -> 11; 4 bits: 11; 11 / 2 = 5.5 -> 6
    assert stages.apply(made, np.array([7, -7, 100]), 0).tolist() == [6, -5, 6]
    assert stages.apply((Clamp(5, 2),), np.array([0, 9]), 0).tolist() == [2, 2]


def test_amounts_by_channel_go_along_the_axis_of_the_channels():
    sums = np.full((2, 3), 8)
    made = (Shift((1, 2), "half_even"),)
    assert stages.apply(made, sums, 0).tolist() == [[4, 4, 4], [2, 2, 2]]

"""Integer rounding: shifts, divisions and significant bits, on NumPy integer arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mpq_plugins.hardware.op_support import Rounding
from mpq_plugins.integers.steps import Clamp, Divide, Multiply, Shift, Significant, Stage

Integers = NDArray[Any]
MOST_RIGHT = 62
"""Shifting an accumulator further gives the same."""
MOST_LEFT = 17
"""One code shifted so far is past every grid, and is clipped."""
NARROW = 30
"""An int32 accumulator can be shifted right by as much without leaving int32 on the way."""


def shift(values: ArrayLike, amounts: ArrayLike, rounding: Rounding) -> Integers:
    """``values / 2**amounts`` rounded to integers; negative amounts shift left.

    values: integers. amounts: one, or an array that broadcasts, of -17 .. 62.

    >>> shift([5, 6, 7, -6], 2, "half_even"), shift([6, -6], 2, "half_away"), shift([6, -6], 2, "half_up")
    (array([ 1,  2,  2, -2]), array([ 2, -2]), array([ 2, -1]))
    """
    x, s = np.asarray(values), np.asarray(amounts)
    if s.size and (int(s.max()) > NARROW or int(s.min()) < 0):
        x = x.astype(np.int64)
    s = s.astype(x.dtype)
    left, right = np.maximum(-s, 0), np.maximum(s, 0)
    x = np.left_shift(x, left) if left.any() else x
    floor = np.right_shift(x, right)
    rest = x - np.left_shift(floor, right)
    # twice the rest against the divisor, without doubling what may fill the type
    return _rounded(x, floor, rest, np.left_shift(np.ones_like(right), right) - rest, rounding)


def divide(values: ArrayLike, counts: ArrayLike, rounding: Rounding) -> Integers:
    """``values / counts`` rounded to integers; counts are positive.

    >>> divide([3, 9, -3], 6, "half_even"), divide([3, 9, -3], 6, "half_away"), divide([3, 9, -3], 6, "half_up")
    (array([0, 2, 0]), array([ 1,  2, -1]), array([1, 2, 0]))
    """
    x, n = np.asarray(values), np.asarray(counts)
    floor = x // n
    rest = x - floor * n
    return _rounded(x, floor, rest, n - rest, rounding)


def _rounded(x: Integers, floor: Integers, below: Integers, above: Integers, rounding: Rounding) -> Integers:
    """The floor of a quotient, or one more; below, above: distances to the two, over the divisor."""
    if rounding == "half_up":
        up = below >= above
    elif rounding == "half_away":
        up = (below > above) | ((below == above) & (x >= 0))
    else:
        up = (below > above) | ((below == above) & ((floor & 1) == 1))
    return np.asarray(floor + up.astype(floor.dtype))


def significant(values: ArrayLike, bits: int) -> Integers:
    """Integers rounded half to even to so many significant bits, as a float of that mantissa holds them.

    >>> significant([16777217, 16777219, -16777219, 5], 24)
    array([ 16777216,  16777220, -16777220,         5])
    """
    x = np.asarray(values, dtype=np.int64)
    largest = max(int(x.max(initial=0)), -int(x.min(initial=0)))
    result = x
    for extra in range(1, largest.bit_length() - bits + 1):
        here = (np.abs(x) >> (bits + extra - 1)) == 1
        if here.any():
            result = np.where(here, shift(x, extra, "half_even") << extra, result)
    return result


def apply(stages: Sequence[Stage], accumulator: Integers, axis: int) -> Integers:
    """The codes of an accumulator. axis: of the output channels, which shifts may differ by."""
    x = accumulator
    for stage in stages:
        if isinstance(stage, Shift):
            x = shift(x, _along(stage.amounts, x.ndim, axis), stage.rounding)
        elif isinstance(stage, Significant):
            x = significant(x, stage.bits)
        elif isinstance(stage, Multiply):
            x = x.astype(np.int64) * stage.factor
        elif isinstance(stage, Divide):
            x = divide(x, stage.count, stage.rounding)
        elif isinstance(stage, Clamp):
            x = np.minimum(np.maximum(x, stage.low), stage.high)
    return x.astype(np.int32)


def _along(amounts: tuple[int, ...], ndim: int, axis: int) -> Integers:
    if len(amounts) == 1:
        return np.asarray(amounts[0])
    shape = [1] * ndim
    shape[axis] = -1
    return np.asarray(amounts).reshape(shape)

"""Loops over the values of rows that numba compiles where it is installed; without it they are plain Python, and slow.

What they compute is collecting.collect, and Halvings of it without an array of all bins between them.
``compiled.py`` says when they are used. A value is placed in a block of places first, in arithmetic that a processor
does for several values at once; adding it to its bin is a second loop.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

njit: Any = None
try:
    import numba
except ImportError:  # not installed, or made for another NumPy
    pass
else:
    njit = numba.njit

COMPILED = njit is not None
BLOCK = 256

_Function = TypeVar("_Function", bound=Callable[..., Any])
Ints = NDArray[Any]
Floats = NDArray[np.float64]


def _jit(function: _Function) -> _Function:
    if njit is None:
        return function
    try:
        compiled: _Function = njit(cache=True, nogil=True)(function)
    except RuntimeError:  # no folder to keep it in
        compiled = njit(nogil=True)(function)
    return compiled


@_jit
def _place(raw: Ints, magnitudes: int, fraction: int, before: int, slots: int, slot: Ints, distance: Ints) -> int:
    """Slot, and distance from the anchor of its bin, of each value; how many are neither 0 nor in any bin.

    raw: the bits of floats, as integers. magnitudes: mask of all bits but the sign. fraction: bits of a value that
    tell its place in its bin. before: what the bits before these are just below the lowest bin.
    """
    mask = (2 << fraction) - 1
    tiny = 0
    for i in range(raw.size):
        value = np.int64(raw[i])
        magnitude = value & magnitudes
        upper = magnitude >> fraction
        odd = upper & 1
        slot[i] = max(upper - before, 0) + (slots & (value >> 63))
        distance[i] = ((magnitude & mask) ^ (mask & -odd)) + odd  # of an odd bin, from its upper end
        tiny += (magnitude > 0) & (upper <= before)
    return tiny


@_jit
def _add_tiny(values: Ints, weights: Floats, lowest: float, small: Floats) -> None:
    """Adds 1, abs(x) and x**2 of the nonzero values below the lowest octave to small, [2, 3]."""
    for i in range(values.size):
        size = np.float64(abs(values[i]))
        if 0.0 < size < lowest:
            weight = weights[i] if weights.size else 1.0
            sign = 1 if values[i] < 0 else 0
            small[sign, 0] += weight
            small[sign, 1] += weight * size
            small[sign, 2] += weight * size * size


@_jit
def _add_row(
    values: Ints,
    raw: Ints,
    weights: Floats,
    layout: tuple[int, int, int, int],
    lowest: float,
    sums: Floats,
    small: Floats,
) -> None:
    """Adds number, distances and their squares of a row to sums [2 * slots, 3], and what lies below to small [2, 3]."""
    magnitudes, fraction, before, slots = layout
    slot = np.empty(BLOCK, np.uint32)
    distance = np.empty(BLOCK, np.int64)
    for start in range(0, raw.size, BLOCK):
        part = raw[start : start + BLOCK]
        weight = weights[start : start + BLOCK]
        tiny = _place(part, magnitudes, fraction, before, slots, slot, distance)
        for i in range(part.size):
            at = np.uint64(slot[i])  # of an unsigned place the compiler knows that it does not count from the end
            w = weight[i] if weight.size else 1.0
            u = np.float64(distance[i])
            sums[at, 0] += w
            sums[at, 1] += w * u
            sums[at, 2] += w * u * u
        if tiny:
            _add_tiny(values[start : start + BLOCK], weight, lowest, small)


@_jit
def bin_sums(
    values: Ints,
    raw: Ints,
    weights: Floats,
    layout: tuple[int, int, int, int],
    lowest: float,
    sums: Floats,
    small: Floats,
) -> None:
    """Fills sums [rows, 2 * slots, 3] and small [rows, 2, 3]."""
    for row in range(len(raw)):
        _add_row(values[row], raw[row], weights[row], layout, lowest, sums[row], small[row])


@_jit
def octave_columns(
    values: Ints,
    raw: Ints,
    weights: Floats,
    layout: tuple[int, int, int, int],
    lowest: float,
    columns: Floats,
    squared: Floats,
    small: Floats,
) -> None:
    """Fills what Halvings are made of: columns [rows, 2, octaves, 2 * resolution + 4], squared [rows, 2, octaves].

    And small [rows, 2, 3]: number, sum and sum of squares of what lies below the bins.
    """
    fraction, slots = layout[1], layout[3]
    resolution = columns.shape[3] // 2 - 2
    bins = 1 << resolution
    width = 0.5**resolution
    unit = width * 0.5**fraction
    sums = np.zeros((2 * slots, 3))
    count, distance = np.empty(bins), np.empty(bins)
    for row in range(len(raw)):
        _add_row(values[row], raw[row], weights[row], layout, lowest, sums, small[row])
        for sign in range(2):
            for octave in range(columns.shape[2]):
                first_slot = sign * slots + 1 + octave * bins
                total, distances, squares = 0.0, 0.0, 0.0
                for k in range(bins):
                    own = sums[first_slot + k]
                    count[k] = own[0]
                    distance[k] = own[1] * unit
                    total += own[0]
                    distances += own[1]
                    squares += own[2]
                    own[:] = 0.0
                if total:
                    _halve(count, distance, width, columns[row, sign, octave])
                    columns[row, sign, octave, -1] = distances * unit
                    squared[row, sign, octave] = squares * unit * unit
        sums[0] = 0.0
        sums[slots] = 0.0


@_jit
def _halve(count: Floats, distance: Floats, width: float, columns: Floats) -> None:
    """halvings._halved of one octave, but for the last column; count and distance are used up."""
    bins = count.size
    resolution = columns.size // 2 - 2
    step = 2 * width
    for t in range(resolution - 1):
        columns[resolution + t] = step * count[bins - 1] - 2 * distance[bins - 1]
        one, two = 0.0, 0.0
        for k in range(0, bins, 4):
            far_one = step * count[k + 1] - distance[k + 1]
            far_two = step * count[k + 2] - distance[k + 2]
            one += far_one - distance[k + 1]
            two += far_two - distance[k + 2]
            at = k // 2
            count[at] = count[k] + count[k + 1]
            count[at + 1] = count[k + 2] + count[k + 3]
            distance[at] = distance[k] + far_one
            distance[at + 1] = distance[k + 3] + far_two
        columns[t] = one + two
        bins //= 2
        step *= 2
    columns[resolution - 1] = count[0] - 2 * distance[0]
    columns[2 * resolution - 1] = count[1] - 2 * distance[1]
    columns[2 * resolution] = 2 * (distance[0] + count[1] - distance[1])
    columns[2 * resolution + 1] = count[0] + count[1]
    columns[2 * resolution + 2] = distance[0] + count[1] - distance[1]

"""Free steps: the grid of least squared error when its step need not be a power of two.

The power-of-two search says in which octave to look; a fine set of steps to both sides of its best one
is tried, then a finer one around the winner, and the winner of that is refitted: for fixed codes q the
best step is ``sum(w*x*q) / sum(w*q*q)``, and with the step the codes move (Lloyd's alternation, which
never raises the error).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mpq_plugins.grid import Grid
from mpq_plugins.thresholds.histogram import Histogram
from mpq_plugins.thresholds.search import search_threshold
from mpq_plugins.thresholds.weighted_points import Points

PER_OCTAVE = 32
"""Steps tried in each octave; the two octaves around the power-of-two step are searched."""
FINER = 8
"""Steps tried between two of those, to both sides of the best."""
REFITS = 8
SIGNIFICANT_BITS = 16
"""Bits of a step that count: a code of 8 bits times such a step is exact in float32 where that is normal."""

Array = NDArray[np.float64]


def search_step(
    x: ArrayLike | Histogram,
    bits: int,
    signed: bool = True,
    axis: int | None = None,
    narrow: bool = False,
    weights: ArrayLike | None = None,
) -> Grid:
    """The Grid of least (weighted) squared error for x whose steps are free, per tensor or per channel.

    Arguments and errors are those of search_threshold. The error is never above that of its grid, but for
    the rounding of the step to 16 significant bits. A tensor or channel without a value that counts gets
    the power-of-two step that search_threshold gives it.

    >>> grid = search_step(np.arange(-8, 8) * 0.3, bits=4)
    >>> grid.is_power_of_two, abs(grid.step - 0.3) < 1e-5
    (False, True)
    """
    plain = search_threshold(x, bits, signed, "mse", axis, narrow, weights)
    return refined(Points.of(x, axis, weights), plain)


def refined(points: Points, plain: Grid) -> Grid:
    """The grid of least squared error at most an octave from a power-of-two one."""
    start = np.asarray(plain.steps)
    best, least = start, points.error(start, plain.low, plain.high)
    for coarse in np.arange(-PER_OCTAVE, PER_OCTAVE + 1) / PER_OCTAVE:
        best, least = _better(points, plain, short(start * 2.0**coarse), best, least)
    best, least = _better(points, plain, _unclipped(points, plain), best, least)
    start = best
    for fine in np.arange(1 - FINER, FINER) / (FINER * PER_OCTAVE):
        best, least = _better(points, plain, short(start * 2.0**fine), best, least)
    for _ in range(REFITS):
        refitted, error = _better(points, plain, _refit(points, plain, best), best, least)
        if np.array_equal(refitted, best):
            break
        best, least = refitted, error
    return replace(plain, steps=tuple(best.tolist()))


def squared_error(x: ArrayLike | Histogram, grid: Grid) -> float:
    """Mean squared error of x on any grid of one step. Points.error says how exact."""
    return float(Points.of(x).error(np.asarray(grid.steps), grid.low, grid.high)[0])


def short(steps: ArrayLike) -> Array:
    """Steps with 16 significant bits, the nearest ones.

    >>> float(short(0.1)).hex()
    '0x1.999a000000000p-4'
    """
    mantissa, exponent = np.frexp(np.asarray(steps, dtype=np.float64))
    return np.asarray(np.ldexp(np.rint(np.ldexp(mantissa, SIGNIFICANT_BITS)), exponent - SIGNIFICANT_BITS))


def _better(points: Points, grid: Grid, steps: Array, best: Array, least: Array) -> tuple[Array, Array]:
    """For each channel whichever step has less error; the old one if both have the same."""
    error = points.error(steps, grid.low, grid.high)
    wins = error < least
    return np.where(wins, steps, best), np.where(wins, error, least)


def _unclipped(points: Points, grid: Grid) -> Array:
    """The smallest steps that clip nothing, where there is something to clip."""
    counted = points.values * (points.weights > 0)
    needed = counted.max(axis=1) / grid.high
    if grid.low < 0:
        needed = np.maximum(needed, counted.min(axis=1) / grid.low)
    return np.where(needed > 0, short(np.maximum(needed, 0)), np.asarray(grid.steps))


def _refit(points: Points, grid: Grid, steps: Array) -> Array:
    codes = points.codes(steps, grid.low, grid.high)
    product = np.einsum("cn,cn,cn->c", points.weights, points.values, codes)
    square = np.einsum("cn,cn,cn->c", points.weights, codes, codes)
    fitted = np.divide(product, square, out=np.zeros_like(product), where=square > 0)
    return np.where(fitted > 0, short(fitted), steps)

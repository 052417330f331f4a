"""Squared and absolute error of every power-of-two grid, from the moments of float bins.

Seen from its own octave, every octave meets the same steps: the step that is i halvings below the
octave's upper end. So one small matrix of coefficients turns the bins of each octave into the residual
of each of those steps (values within the threshold), the extra cost of the clipped half cell below
the threshold, and the moments of the octave (values beyond the threshold); each entry of the table is then
a sum over octaves. All terms are positive.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.thresholds.candidate_grids import CandidateGrids
from mpq_plugins.thresholds.float_bins import FloatBins, Moments
from mpq_plugins.thresholds.halvings import Halvings

Array = NDArray[np.float64]
_WORTH_A_MATRIX = 16
_LARGEST_MATRIX = 1 << 17


@dataclass(frozen=True)
class OctaveSums:
    """What each octave of each row and sign adds to the entries of a table, for one power of the error.

    residual: sums of ``abs(x - nearest multiple)**power``, [rows, 2, octaves, steps]; the steps run from
    twice the octave's upper end (all of it rounds to zero) down by halves to the finest that is needed.
    shortfall: what clipping adds in the half cell below the octave's upper end, [rows, 2, octaves,
    bit-widths]. beyond: moments 0, 1, 2 of the distance from the octave's lower end, [rows, 3, 2,
    octaves]. small: sum of ``abs(x)**power`` below the lowest octave, [rows, 2].
    """

    bins: FloatBins
    residual: Array
    shortfall: Array
    beyond: Array
    small: Array


def octave_sums(moments: Moments, shifts: tuple[int, ...], power: int) -> OctaveSums:
    """Octave sums of bin moments, for the bit-widths with these shifts (bits - signed), power 1 or 2."""
    halved = Halvings.of(moments.count, moments.first, moments.second)
    return from_halvings(moments.bins, halved, moments.small, shifts, power)


def from_halvings(bins: FloatBins, halved: Halvings, small: Array, shifts: tuple[int, ...], power: int) -> OctaveSums:
    """The same of what is known of each octave already, and the sums of what lies below them all, [rows, 2, 3]."""
    j = bins.octave_exponents
    scale = np.ldexp(1.0, power * j)[:, None]
    at = bins.resolution - np.asarray(shifts)
    own = halved.steps[at] ** (power - 1)
    beyond = np.stack([halved.count, halved.first * np.ldexp(1.0, j), halved.second * np.ldexp(1.0, 2 * j)], axis=1)
    return OctaveSums(
        bins,
        halved.residual(power)[..., : max(shifts) + 2] * scale,
        halved.topmost[..., at] * (own * scale),
        beyond,
        small[..., power],
    )


def error_sums(octaves: OctaveSums, grids: CandidateGrids, power: int) -> Array:
    """Sum of ``w * abs(x - q(x))**power`` (power 1 or 2) of every grid: [rows, bits, exponents].

    Exact to float64 rounding where ``resolution >= bits - signed`` and no nonzero value lies below
    the lowest octave while half of the finest step does.
    """
    bins, e, shifts = octaves.bins, np.asarray(grids.exponents), np.asarray(grids.shifts)[:, None]
    signs = 2 if grids.signed else 1
    step_exponents = e - shifts
    sums = _within(octaves.residual[:, :signs], bins, step_exponents, e)
    sums += octaves.small[:, :signs].sum(axis=1)[:, None, None]

    first_beyond = e - bins.lowest
    inside = (first_beyond >= 1) & (first_beyond <= bins.octaves)
    last = np.minimum(np.maximum(first_beyond - 1, 0), bins.octaves - 1)
    step = np.ldexp(1.0, step_exponents)
    for sign in range(signs):
        last_code_missing = sign == 0 or grids.narrow  # two's complement reaches -threshold itself
        offset = step if last_code_missing else np.zeros_like(step)
        sums += _tail(octaves.beyond[:, :, sign], bins, e, offset, power)
        if last_code_missing:
            sums += np.where(inside, np.swapaxes(octaves.shortfall[:, sign, last], 1, 2), 0.0)
    if not grids.signed:
        # every value below zero goes to zero, as at the coarsest step
        sums += (octaves.residual[:, 1, :, 0].sum(axis=1) + octaves.small[:, 1])[:, None, None]
    return sums


def halved_errors(bins: FloatBins, halved: Halvings, small: Array, grids: CandidateGrids, power: int) -> Array:
    """error_sums of what is known of each octave of rows, and of what lies below: [rows, bits, exponents].

    It adds up parts of what octaves give, and so is a product with what a 1 in each place gives.
    """
    rows, *places = halved.columns.shape
    if rows < _WORTH_A_MATRIX or math.prod(places) * math.prod(grids.shape) > _LARGEST_MATRIX:
        return error_sums(from_halvings(bins, halved, small, grids.shifts, power), grids, power)
    per_column, per_square, per_small = _of_each_place(bins, grids, power)
    sums = halved.columns.reshape(rows, -1) @ per_column
    sums += halved.squared.reshape(rows, -1) @ per_square
    sums += small[..., power] @ per_small
    return np.asarray(sums.reshape(rows, *grids.shape))


@lru_cache(maxsize=32)
def _of_each_place(bins: FloatBins, grids: CandidateGrids, power: int) -> tuple[Array, Array, Array]:
    """[places, grids] of columns, squares and small sums, flattened."""
    shapes = (2, bins.octaves, 2 * bins.resolution + 4), (2, bins.octaves), (2, 3)
    sizes = [math.prod(shape) for shape in shapes]
    one = np.split(np.eye(sum(sizes)), np.cumsum(sizes)[:-1], axis=1)
    columns, squared, small = (part.reshape(-1, *shape) for part, shape in zip(one, shapes, strict=True))
    octaves = from_halvings(bins, Halvings(columns, squared), small, grids.shifts, power)
    per_column, per_square, per_small = np.split(error_sums(octaves, grids, power), np.cumsum(sizes)[:-1])
    at_power = per_small.reshape(2, 3, -1)[:, power]
    return per_column.reshape(sizes[0], -1), per_square.reshape(sizes[1], -1), at_power


def _within(residual: Array, bins: FloatBins, step_exponents: NDArray[Any], e: NDArray[Any]) -> Array:
    """Sum of residuals of the octaves below each threshold: [rows, bits, exponents]."""
    distinct = np.array(sorted(set(step_exponents.ravel().tolist())))
    which = np.searchsorted(distinct, step_exponents)
    halvings = bins.octave_exponents[None, :] + 1 - distinct[:, None]
    column = np.minimum(np.maximum(halvings, -1), residual.shape[-1] - 2) + 1
    per_step = residual.sum(axis=1)[:, np.arange(bins.octaves)[None, :], column]  # [rows, steps, octaves]
    running = np.zeros((*per_step.shape[:-1], bins.octaves + 1))
    np.cumsum(per_step, axis=-1, out=running[..., 1:])
    octaves_below = np.broadcast_to(np.minimum(np.maximum(e - bins.lowest, 0), bins.octaves), step_exponents.shape)
    result: Array = running[:, which, octaves_below]
    return result


def _tail(beyond: Array, bins: FloatBins, e: NDArray[np.int64], offset: Array, power: int) -> Array:
    """Sum of ``(abs(x) - threshold + offset)**power`` over the octaves beyond each threshold."""
    count, first, second = beyond[:, 0], beyond[:, 1], beyond[:, 2]  # [rows, octaves], about 2**j
    j = bins.octave_exponents[:, None]
    outside = (j >= e[None, :]).astype(np.float64)
    gap = np.where(outside > 0, np.ldexp(1.0, j) - np.ldexp(1.0, e)[None, :], 0.0)
    total = count @ outside
    distance = first @ outside + count @ gap
    if power == 1:
        return np.asarray(distance[:, None, :] + offset * total[:, None, :])
    squared = second @ outside + 2 * (first @ gap) + count @ gap**2
    return np.asarray(squared[:, None, :] + 2 * offset * distance[:, None, :] + offset**2 * total[:, None, :])

"""Squared and absolute error of every power-of-two grid, from the moments of float bins.

Seen from its own octave, every octave meets the same steps: the step that is i halvings below the
octave's upper end. So one small matrix of coefficients turns the bins of each octave into the residual
of each of those steps (values within the threshold), the extra cost of the clipped half cell below
the threshold, and the moments of the octave (values beyond the threshold); each entry of the table is then
a sum over octaves. All terms are positive.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.thresholds.candidate_grids import CandidateGrids
from mpq_plugins.thresholds.float_bins import FloatBins, Moments

Array = NDArray[np.float64]


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

    @classmethod
    def stacked(cls, parts: Sequence[OctaveSums]) -> OctaveSums:
        """The rows of all parts, which share their bins."""
        if len(parts) == 1:
            return parts[0]
        fields = ([getattr(p, name) for p in parts] for name in ("residual", "shortfall", "beyond", "small"))
        return cls(parts[0].bins, *(np.concatenate(arrays) for arrays in fields))


def octave_sums(moments: Moments, shifts: tuple[int, ...], power: int) -> OctaveSums:
    """Octave sums of bin moments, for the bit-widths with these shifts (bits - signed), power 1 or 2."""
    per_count, per_first = _coefficients(moments.bins.resolution, shifts, power)
    steps = max(shifts) + 2
    sums = moments.count @ per_count
    sums += moments.first @ per_first
    squares = moments.second.sum(axis=-1) / float(moments.bins.per_octave) ** 2
    if power == 2:
        sums[..., :steps] += squares[..., None]
    j = moments.bins.octave_exponents
    scale = np.ldexp(1.0, power * j)[:, None]
    beyond = np.moveaxis(sums[..., -3:], -1, 1) * np.ldexp(1.0, np.outer(np.arange(3), j))[:, None, :]
    beyond[:, 2] += squares * np.ldexp(1.0, 2 * j)
    return OctaveSums(
        moments.bins,
        sums[..., :steps] * scale,
        sums[..., steps:-3] * scale,
        beyond,
        moments.small[..., power],
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
    last = np.clip(first_beyond - 1, 0, bins.octaves - 1)
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


@lru_cache(maxsize=64)
def _coefficients(resolution: int, shifts: tuple[int, ...], power: int) -> tuple[Array, Array]:
    """What one count, and one unit of first moment, of each bin of [1, 2) adds to each octave sum."""
    anchor, width, middle = (v[:, None] for v in FloatBins(resolution, 0, 1).unit_anchors())
    step = np.ldexp(1.0, 1 - np.arange(-1, max(shifts) + 1))
    d = anchor - np.rint(middle / step) * step
    own = np.ldexp(1.0, 1 - np.asarray(shifts))
    half_cell = middle > 2.0 - own / 2
    y = 2.0 - anchor
    if power == 2:
        count = [d * d, half_cell * own * (own - 2 * y)]
        first = [2 * d * width, half_cell * own * 2 * width]
    else:
        count = [np.abs(d), half_cell * (own - 2 * y)]
        first = [np.where(d == 0, np.abs(width), np.sign(d) * width), half_cell * 2 * width]
    o = anchor - 1.0
    count += [np.ones_like(o), o, o * o]
    first += [np.zeros_like(o), width, 2 * o * width]
    return np.concatenate(count, axis=1), np.concatenate(first, axis=1)


def _within(residual: Array, bins: FloatBins, step_exponents: NDArray[Any], e: NDArray[Any]) -> Array:
    """Sum of residuals of the octaves below each threshold: [rows, bits, exponents]."""
    distinct, which = np.unique(step_exponents, return_inverse=True)
    halvings = bins.octave_exponents[None, :] + 1 - distinct[:, None]
    column = np.clip(halvings, -1, residual.shape[-1] - 2) + 1
    per_step = residual.sum(axis=1)[:, np.arange(bins.octaves)[None, :], column]  # [rows, steps, octaves]
    running = np.zeros((*per_step.shape[:-1], bins.octaves + 1))
    np.cumsum(per_step, axis=-1, out=running[..., 1:])
    octaves_below = np.broadcast_to(np.clip(e - bins.lowest, 0, bins.octaves), step_exponents.shape)
    result: Array = running[:, which.reshape(step_exponents.shape), octaves_below]
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

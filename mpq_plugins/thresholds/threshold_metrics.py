"""Errors of power-of-two grids that are not read off bin moments: element by element, lp, KL, no-clipping."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.thresholds.candidate_grids import CandidateGrids
from mpq_plugins.thresholds.float_bins import FloatBins, Moments

Array = NDArray[np.float64]
_BLOCK_BYTES = 1 << 20


def elementwise_sums(
    values: NDArray[Any],
    weights: NDArray[Any] | None,
    grids: CandidateGrids,
    power: float,
) -> Array:
    """Sum of ``w * abs(x - q(x))**power`` of every grid, element by element: [rows, bits, exponents].

    values: finite floats [rows, n]. The distance to the nearest multiple is computed once per
    distinct step; a grid with that step then only adds its clipping.
    """
    rows, n = values.shape
    sums = np.zeros((rows, *grids.shape))
    block = max(256, _BLOCK_BYTES // (8 * (len(grids.exponents) + 6)))
    across = max(1, block // max(n, 1))
    for top in range(0, rows, across):
        for left in range(0, n, block):
            part = (slice(top, top + across), slice(left, left + block))
            x = values[part].astype(np.float64)
            w = None if weights is None else weights[part].astype(np.float64)
            _add_block(x, w, grids, power, sums[part[0]])
    return sums


def _add_block(
    x: Array,
    w: Array | None,
    grids: CandidateGrids,
    power: float,
    sums: Array,
) -> None:
    magnitude = np.abs(x)
    beyond = [magnitude - np.ldexp(1.0, e) for e in grids.exponents]
    negative = x < 0
    code, residual, error = np.empty_like(x), np.empty_like(x), np.empty_like(x)
    for step_exponent, members in grids.by_step().items():
        step = np.ldexp(1.0, step_exponent)
        limit = float(2 ** max(grids.bits[i] for i, _ in members))
        with np.errstate(over="ignore"):
            np.multiply(x, 1.0 / step, out=code)
        np.rint(np.clip(code, -limit, limit, out=code), out=code)
        code *= step
        np.abs(np.subtract(x, code, out=residual), out=residual)
        if not grids.signed:
            np.copyto(residual, magnitude, where=negative)
        # the last code is threshold - step, except for the negative side of two's complement
        missing: Array | float = step if grids.narrow else np.where(negative, 0.0, step)
        for i, k in members:
            np.add(beyond[k], missing, out=error)
            np.maximum(error, residual, out=error)
            sums[:, i, k] += _power_sum(error, w, power)


def _power_sum(error: Array, w: Array | None, power: float) -> Array:
    if w is None and power == 2:
        return np.asarray(np.einsum("ij,ij->i", error, error))
    if power == 2:
        error *= error
    elif power != 1:
        np.power(error, power, out=error)
    return np.asarray(error.sum(axis=1) if w is None else np.einsum("ij,ij->i", error, w))


def lp_sums(moments: Moments, grids: CandidateGrids, power: float) -> Array:
    """Sum of ``w * abs(x - q(x))**power`` (power >= 1) from bins: [rows, bits, exponents], approximate.

    Within a bin the error is convex in x: its sum lies between the value at the bin's mean (Jensen)
    and the chord through the bin's ends at that mean; the result is the middle of the two, so it is
    off by at most half of the gap between them.
    """
    rows = len(moments.count)
    sums = np.zeros((rows, *grids.shape))
    anchor, width, middle = moments.bins.unit_anchors()
    scale = np.ldexp(1.0, moments.bins.octave_exponents)[:, None]
    for row in range(rows):
        for sign in range(2):
            count = moments.count[row, sign]
            used = count > 0
            share = moments.first[row, sign][used] / count[used]
            flip = 1.0 - 2.0 * sign
            near = flip * np.broadcast_to(scale * anchor, count.shape)[used]
            across = flip * np.broadcast_to(scale * width, count.shape)[used]
            centre = flip * np.broadcast_to(scale * middle, count.shape)[used]
            for i, b in enumerate(grids.bits):
                low, high = grids.codes(b)
                for k, e in enumerate(grids.exponents):
                    step = np.ldexp(1.0, e - b + int(grids.signed))
                    q = np.clip(np.rint(centre / step), low, high) * step
                    at_mean = np.abs(near + across * share - q) ** power
                    chord = (1 - share) * np.abs(near - q) ** power + share * np.abs(near + across - q) ** power
                    sums[row, i, k] += np.dot(count[used], (at_mean + chord) / 2)
        tiny, tiny_sum = moments.small[row, :, 0].sum(), moments.small[row, :, 1].sum()
        if tiny:
            end = np.ldexp(1.0, moments.bins.lowest)
            sums[row] += (tiny * (tiny_sum / tiny) ** power + tiny_sum * end ** (power - 1)) / 2
    return sums


def overshoot(lowest: Array, highest: Array, grids: CandidateGrids) -> Array:
    """The farthest that a rounded value lies outside each grid: [rows, bits, exponents]; 0: nothing clips.

    lowest, highest: smallest and largest value of each row. An unsigned grid is asked about its upper
    end only, since it clips every value below zero whatever its threshold.
    """
    result = np.zeros((len(lowest), *grids.shape))
    for i, b in enumerate(grids.bits):
        low, high = grids.codes(b)
        for k, e in enumerate(grids.exponents):
            step = np.ldexp(1.0, e - b + int(grids.signed))
            with np.errstate(over="ignore"):
                above = np.rint(highest / step) - high
                below = low - np.rint(lowest / step) if grids.signed else np.zeros_like(above)
            result[:, i, k] = np.maximum(np.maximum(above, below), 0.0) * step
    return result


def kl_divergences(moments: Moments, grids: CandidateGrids) -> Array:
    """KL divergence, in nats, of what the codes tell from what the bins tell: [rows, bits, exponents].

    See error_table for the definition. Rows without a nonzero value get 0.
    """
    bins = moments.bins
    upto = [_running(moments, sign) for sign in range(2)]
    totals = np.stack([u[:, -1] for u in upto], axis=1)
    n = np.maximum(totals.sum(axis=1), 1.0)
    filled = moments.count.any(axis=-1) * np.arange(1, bins.octaves + 1)
    reach = np.where(totals > 0, np.ldexp(1.0, bins.lowest + filled.max(axis=-1)), 0.0)
    information = _bin_information(moments, n)
    result = np.zeros((len(n), *grids.shape))
    for i, b in enumerate(grids.bits):
        edges = np.arange(*grids.codes(b)) + 0.5
        for k, e in enumerate(grids.exponents):
            bounds = edges * np.ldexp(1.0, e - b + int(grids.signed))
            below = np.where(
                bounds > 0,
                totals[:, 1:] + _mass_within(upto[0], bins, bounds),
                totals[:, 1:] - _mass_within(upto[1], bins, bounds),
            )
            mass = np.diff(below, prepend=0.0, append=totals.sum(axis=1)[:, None]) / n[:, None]
            ends = np.clip(bounds[None, :], -reach[:, 1:], reach[:, :1])
            length = np.diff(ends, prepend=-reach[:, 1:], append=reach[:, :1])
            used = mass > 0
            ratio = np.divide(mass, length, out=np.ones_like(mass), where=used)
            result[:, i, k] = information - np.sum(mass * np.log(ratio), axis=1)
    return np.maximum(result, 0.0)


def _running(moments: Moments, sign: int) -> Array:
    """Count of nonzero values of one sign with magnitude below each bin edge: [rows, slots]."""
    bins = moments.count[:, sign].reshape(len(moments.count), -1)
    return np.cumsum(np.concatenate([moments.small[:, sign, :1], bins], axis=1), axis=1)


def _mass_within(upto: Array, bins: FloatBins, bounds: Array) -> Array:
    """Count of values of one sign with magnitude below abs(bounds), which are edges of bins."""
    mantissa, exponent = np.frexp(np.abs(bounds))
    octave = exponent - 1 - bins.lowest
    slot = octave * bins.per_octave + ((2 * mantissa - 1) * bins.per_octave).astype(np.int64)
    return np.asarray(upto[:, np.clip(slot, 0, bins.slots - 1)])


def _bin_information(moments: Moments, n: Array) -> Array:
    """Sum over bins of p * log(p / width), for each row."""
    bins = moments.bins
    width = np.repeat(np.ldexp(1.0, bins.octave_exponents - bins.resolution), bins.per_octave)
    width = np.concatenate([[np.ldexp(1.0, bins.lowest)], width])
    total = np.zeros(len(n))
    for sign in range(2):
        count = moments.count[:, sign].reshape(len(n), -1)
        p = np.concatenate([moments.small[:, sign, :1], count], axis=1) / n[:, None]
        total += np.sum(p * np.log(np.divide(p, width, out=np.ones_like(p), where=p > 0)), axis=1)
    return total

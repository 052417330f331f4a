"""Mean error of every grid for each row of an array, or for a histogram: chooses the way to compute it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mpq_plugins.errors import EmptyCalibration, ThresholdError
from mpq_plugins.thresholds.candidate_grids import CandidateGrids
from mpq_plugins.thresholds.collecting import collect
from mpq_plugins.thresholds.compiled import halved, is_worth_it
from mpq_plugins.thresholds.float_bins import FloatBins, Moments, octave_above
from mpq_plugins.thresholds.halvings import Halvings
from mpq_plugins.thresholds.histogram import OCTAVES, Histogram, as_floats, finite_range
from mpq_plugins.thresholds.octave_errors import error_sums, halved_errors, octave_sums
from mpq_plugins.thresholds.threshold_metrics import elementwise_sums, kl_divergences, lp_sums, overshoot

KL_RESOLUTION = 8
_SLOTS_AT_ONCE = 1 << 14
_ROWS_AT_ONCE = 256
_LARGEST_OCTAVE = 400

Array = NDArray[np.float64]


class Rows(NamedTuple):
    """Finite floats [channels, n], weights of the same shape or None, and the largest magnitude."""

    values: NDArray[Any]
    weights: NDArray[Any] | None
    largest: float


def as_rows(x: ArrayLike, axis: int | None, weights: ArrayLike | None = None) -> Rows:
    """An array's channels along an axis as rows, or all of it as one (axis None)."""
    values = as_floats(x)
    if not values.size:
        raise EmptyCalibration(f"an array of shape {values.shape} has no element to fit a threshold to")
    if axis is not None and not -values.ndim <= axis < values.ndim:
        raise ThresholdError(f"axis {axis} does not exist in a tensor of {values.ndim} dimensions")
    low, high = finite_range(values)
    given = None if weights is None else _by_channel(_checked_weights(weights, values.shape), axis)
    return Rows(_by_channel(values, axis), given, max(-low, high))


def _checked_weights(weights: ArrayLike, shape: tuple[int, ...]) -> NDArray[Any]:
    w = as_floats(weights)
    try:
        full = np.broadcast_to(w, shape)
    except ValueError:
        raise ThresholdError(f"weights of shape {w.shape} do not fit values of shape {shape}") from None
    low, high = finite_range(w)
    if low < 0:
        raise ThresholdError(f"weights must be 0 or more, the smallest is {low:g}")
    scale = octave_above(high)
    # only ratios of weights matter; extreme ones would leave the range of floats when multiplied
    return full if abs(scale) < 64 else np.ldexp(full.astype(np.float64), -scale)


def _by_channel(array: NDArray[Any], axis: int | None) -> NDArray[Any]:
    if axis is None:
        return array.reshape(1, -1)
    return np.ascontiguousarray(np.moveaxis(array, axis, 0).reshape(array.shape[axis], -1))


def row_errors(rows: Rows, grids: CandidateGrids, metric: str, power: float) -> Array:
    """Mean error of every grid for each row: [rows, bits, exponents]."""
    values, weights, _ = rows
    if metric == "no_clipping":
        low, high = (ends.astype(np.float64) for ends in (values.min(axis=1), values.max(axis=1)))
        return overshoot(low, high, grids)
    if metric == "kl":
        return _kl(rows, grids)
    bins = None if metric == "lp" else _fitting_bins(rows, grids)
    with np.errstate(over="ignore"):
        if bins is None:
            sums = elementwise_sums(values, weights, grids, power)
        else:
            sums = _binned_sums(values, weights, bins, grids, int(power))
    total = np.full(len(values), float(values.shape[1])) if weights is None else weights.sum(axis=1, dtype=np.float64)
    return np.asarray(sums / np.where(total > 0, total, 1.0)[:, None, None])


def histogram_errors(histogram: Histogram, grids: CandidateGrids, metric: str, power: float) -> Array:
    """Mean error of every grid for the stream that a histogram has seen: [1, bits, exponents]."""
    if not histogram.count:
        raise EmptyCalibration("the histogram has seen no value; run calibration data through it first")
    if metric == "no_clipping":
        return overshoot(np.array([histogram.min]), np.array([histogram.max]), grids)
    moments = histogram.moments
    if moments is None:
        return np.zeros((1, *grids.shape))
    if grids.widest_shift > moments.bins.resolution:
        raise ThresholdError(
            f"a histogram of resolution {moments.bins.resolution} serves up to {moments.bins.resolution} "
            f"unsigned bits, one more signed; for {max(grids.bits)} bits use Histogram(resolution="
            f"{grids.widest_shift})"
        )
    if grids.finest_half_step < moments.bins.lowest and moments.small.any():
        raise ThresholdError(
            f"threshold 2**{min(grids.exponents)} at {max(grids.bits)} bits has steps too fine for a "
            f"histogram of values up to {max(-histogram.min, histogram.max):g}; it resolves thresholds from "
            f"2**{smallest_exponent(histogram, max(grids.bits), grids.signed)}"
        )
    if metric == "kl":
        return kl_divergences(moments, grids)
    if metric == "lp":
        return lp_sums(moments, grids, power) / histogram.count
    return error_sums(octave_sums(moments, grids.shifts, int(power)), grids, int(power)) / histogram.count


def smallest_exponent(histogram: Histogram, bits: int, signed: bool) -> int:
    """The smallest threshold exponent that a non-empty histogram resolves at this bit-width."""
    assert histogram.moments is not None
    return histogram.moments.bins.lowest + 1 + bits - int(signed)


def _fitting_bins(rows: Rows, grids: CandidateGrids) -> FloatBins | None:
    """Bins for these grids, or None where going element by element is quicker or safer."""
    values, lowest = rows.values, grids.finest_half_step
    top = max(octave_above(rows.largest), lowest + 1)
    if lowest < -_LARGEST_OCTAVE or top > _LARGEST_OCTAVE:
        return None
    bins = FloatBins(max(grids.widest_shift, 4), lowest, top - lowest)
    candidates = len(grids.bits) * len(grids.exponents)
    steps = len(grids.by_step())
    # nanoseconds for each element and for each bin, on one core; only their ratio matters
    element, slot = (2.0, 4.0) if is_worth_it(values.size) else (4.0, 20.0)
    binned = element * values.shape[1] + slot * bins.slots
    elementwise = (candidates + 2.0 * steps) * values.shape[1]
    return bins if binned < elementwise else None


def _binned_sums(
    values: NDArray[Any], weights: NDArray[Any] | None, bins: FloatBins, grids: CandidateGrids, power: int
) -> Array:
    values = _within_exponents(values, bins)
    tables = []
    for top in range(0, len(values), _ROWS_AT_ONCE):
        rows = slice(top, top + _ROWS_AT_ONCE)
        known, small = _halved(values[rows], None if weights is None else weights[rows], bins)
        tables.append(halved_errors(bins, known, small, grids, power))
    return np.concatenate(tables)


def _halved(values: NDArray[Any], weights: NDArray[Any] | None, bins: FloatBins) -> tuple[Halvings, Array]:
    if is_worth_it(values.size):
        return halved(values, weights, bins)
    if len(values) == 1:
        m = collect(values, bins, weights)
        return Halvings.of(m.count, m.first, m.second), m.small
    parts = [(Halvings.of(m.count, m.first, m.second), m.small) for m in _moments(values, weights, bins)]
    return Halvings.stacked([known for known, _ in parts]), np.concatenate([small for _, small in parts])


def _within_exponents(values: NDArray[Any], bins: FloatBins) -> NDArray[Any]:
    """float64 where the lowest bins hold numbers that float32 writes without its leading bit."""
    return values.astype(np.float64) if values.dtype == np.float32 and bins.lowest < -126 else values


def _moments(values: NDArray[Any], weights: NDArray[Any] | None, bins: FloatBins) -> Iterator[Moments]:
    """Moments of blocks of rows, one after the other, so that few bins are alive at once."""
    across = max(1, _SLOTS_AT_ONCE // bins.slots)
    for i in range(0, len(values), across):
        yield collect(values[i : i + across], bins, None if weights is None else weights[i : i + across])


def _kl(rows: Rows, grids: CandidateGrids) -> Array:
    top = octave_above(rows.largest)
    lowest = max(min(top - OCTAVES, grids.finest_half_step), -1022)
    bins = FloatBins(max(grids.widest_shift, KL_RESOLUTION), lowest, max(top - lowest, 1))
    return np.concatenate(
        [kl_divergences(m, grids) for m in _moments(_within_exponents(rows.values, bins), None, bins)]
    )

"""Moments of the values in float bins: one pass over an array."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.thresholds.compiled import is_worth_it, moments
from mpq_plugins.thresholds.float_bins import FloatBins, Moments

CHUNK = 1 << 16
_WORTH_A_MATRIX = 1 << 15


def collect(values: NDArray[Any], bins: FloatBins, weights: NDArray[Any] | None = None) -> Moments:
    """Moments of a float32 or float64 array [rows, n] of finite values below the highest octave.

    weights: floats [rows, n], or None. One pass over the data in chunks that stay in cache.
    """
    if is_worth_it(values.size):
        return moments(values, weights, bins)
    rows, n = values.shape
    totals = np.zeros((3, rows * 2 * bins.slots))
    small = np.zeros((3, rows * 2))
    across = max(1, CHUNK // rows)
    by_slot = _BySlot(totals.shape[1])
    for start in range(0, n, across):
        part = values[:, start : start + across]
        weight = None if weights is None else weights[:, start : start + across].astype(np.float64)
        _add(part, weight, bins, totals, small, by_slot)
    count, first, second = totals.reshape(3, rows, 2, bins.slots)[..., 1:].reshape(
        3, rows, 2, bins.octaves, bins.per_octave
    )
    return Moments(bins, count, first, second, np.moveaxis(small.reshape(3, rows, 2), 0, -1))


def _add(
    part: NDArray[Any],
    weight: NDArray[np.float64] | None,
    bins: FloatBins,
    totals: NDArray[np.float64],
    small: NDArray[np.float64],
    by_slot: _BySlot,
) -> None:
    integer, fraction, before = bins.layout(part.dtype)
    span = 1 << fraction
    raw = part.view(integer)
    magnitude = raw & np.iinfo(integer).max
    negative = raw < 0

    slot = magnitude >> fraction
    # an array operand keeps NumPy's maximum vectorised, a scalar one does not
    np.maximum(slot, np.full_like(slot, before), out=slot)
    slot -= before
    slot += negative * integer(bins.slots)
    index = slot.astype(np.int32, copy=False)
    if len(part) > 1:
        index += np.arange(len(part), dtype=np.int32)[:, None] * (2 * bins.slots)

    fold = magnitude & (2 * span - 1)
    np.minimum(fold, 2 * span - fold, out=fold)
    _add_sums(index.ravel(), fold.astype(np.float64).ravel(), span, weight, totals, by_slot)

    # zeros cost nothing on any grid, and a negative zero is no negative value
    tiny = (magnitude < (before + 1) << fraction) & (magnitude > 0)
    if tiny.any():
        where = (np.arange(len(part))[:, None] * 2 + negative)[tiny].astype(np.intp)
        x = np.asarray(np.abs(part[tiny]), dtype=np.float64)
        w = np.ones_like(x) if weight is None else weight[tiny]
        for power in range(3):
            small[power] += np.bincount(where, w * x**power, minlength=small.shape[1])


def _add_sums(
    index: NDArray[np.int32],
    u: NDArray[np.float64],
    span: int,
    weight: NDArray[np.float64] | None,
    totals: NDArray[np.float64],
    by_slot: _BySlot,
) -> None:
    bits_of_sum = (span * len(index)).bit_length()
    if weight is None and bits_of_sum + len(index).bit_length() <= 53:
        # u is a whole number here: count and sum travel exactly in one float64, sparing a pass
        one = float(1 << bits_of_sum)
        second = by_slot.sums(index, u * u)
        u += one
        first = by_slot.sums(index, u)
        count = first * (1.0 / one)
        np.floor(count, out=count)
        totals[0] += count
        count *= one
        first -= count
    else:
        w = np.ones_like(u) if weight is None else weight.ravel()
        totals[0] += by_slot.sums(index, w)
        wu = w * u
        first = by_slot.sums(index, wu)
        second = by_slot.sums(index, wu * u)
    first *= 1.0 / span
    totals[1] += first
    second *= (1.0 / span) ** 2
    totals[2] += second


class _BySlot:
    """Sums by slot, [slots], of values whose slots are given."""

    def __init__(self, slots: int) -> None:
        self._slots = slots
        self._column: Any = None

    def sums(self, index: NDArray[np.int32], w: NDArray[np.float64]) -> NDArray[np.float64]:
        """A product with a sparse column adds up what shares a row, like bincount at twice its speed."""
        if len(index) < _WORTH_A_MATRIX:
            return np.asarray(np.bincount(index, w, minlength=self._slots), dtype=np.float64)
        ends = np.array([0, len(index)], dtype=np.int32)
        if self._column is None:
            from scipy.sparse import csc_array

            self._column = csc_array((w, index, ends), shape=(self._slots, 1))
        # making one anew, and checking it, takes longer than the product
        self._column.data, self._column.indices, self._column.indptr = w, index, ends
        return np.asarray(self._column @ np.ones(1))

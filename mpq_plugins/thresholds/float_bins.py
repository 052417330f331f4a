"""Bins made of the bits of floats: every octave of magnitudes is cut into ``2**resolution`` equal bins.

Why these bins: a power-of-two grid with threshold ``T = 2**e`` and step ``s = T * 2**-shift`` rounds and
clips at multiples of ``s/2``. In the octave ``[2**j, 2**(j+1))`` a bin is ``2**(j-resolution)`` wide. An
octave is either beyond the threshold (``2**j >= T``), where every value is clipped, or within it, where
``s/2 >= 2**(j-shift)``. So with ``resolution >= shift`` NO bin has a decision boundary of ANY such grid
inside it, whatever its exponent: all values of a bin go to the same code, and the count and the first two
moments of each bin give every squared and absolute error exactly, to float64 rounding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

CHUNK = 1 << 16
_WORTH_A_MATRIX = 1 << 15
_LAYOUT: dict[np.dtype[Any], tuple[type[np.signedinteger[Any]], int, int]] = {
    np.dtype(np.float32): (np.int32, 23, 127),
    np.dtype(np.float64): (np.int64, 52, 1023),
}


@dataclass(frozen=True)
class FloatBins:
    """Bins of magnitudes from ``2**lowest`` up, ``octaves`` octaves of ``2**resolution`` bins each.

    A value is described within its bin by u, its distance in bin widths (0 .. 1) from the bin's
    anchor: the lower edge of an even bin, the upper edge of an odd one. A grid value can touch a bin
    at its anchor only, so that no error computed from sums of u and u**2 suffers from cancellation.
    """

    resolution: int
    lowest: int
    octaves: int

    @property
    def per_octave(self) -> int:
        """Bins of one octave."""
        return int(2**self.resolution)

    @property
    def slots(self) -> int:
        """Bins of one sign, and one slot before them for magnitudes below the lowest octave."""
        return 1 + self.octaves * self.per_octave

    @property
    def octave_exponents(self) -> NDArray[np.int64]:
        """j of each octave [2**j, 2**(j+1))."""
        return np.arange(self.lowest, self.lowest + self.octaves)

    def unit_anchors(self) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """(anchor, direction times width, middle) of each bin of the octave [1, 2)."""
        k = np.arange(self.per_octave)
        width = 1.0 / self.per_octave
        odd = k % 2
        columns = 1.0 + (k + odd) * width, (1 - 2 * odd) * width, 1.0 + (k + 0.5) * width
        return np.asarray(columns[0]), np.asarray(columns[1]), np.asarray(columns[2])


@dataclass(frozen=True)
class Moments:
    """Sums over the values in each bin, for each row of an array and each sign.

    count, first, second: sum of w, w*u and w*u**2, float64 [rows, 2, octaves, bins of an octave]; w is
    the weight (1 without weights); index 0 of the second axis holds values >= 0, index 1 those below.
    small: sum of w, w*abs(x) and w*x**2 of the nonzero values below the lowest octave, [rows, 2, 3].
    """

    bins: FloatBins
    count: NDArray[np.float64]
    first: NDArray[np.float64]
    second: NDArray[np.float64]
    small: NDArray[np.float64]


def octave_above(magnitude: float) -> int:
    """The smallest j with ``magnitude < 2**j``.

    >>> octave_above(0.9), octave_above(1.0)
    (0, 1)
    """
    return int(np.frexp(magnitude)[1])


def collect(values: NDArray[Any], bins: FloatBins, weights: NDArray[Any] | None = None) -> Moments:
    """Moments of a float32 or float64 array [rows, n] of finite values below the highest octave.

    weights: floats [rows, n], or None. One pass over the data in chunks that stay in cache.
    """
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
    integer, mantissa, bias = _LAYOUT[part.dtype]
    fraction = mantissa - bins.resolution
    span = 1 << fraction
    lowest = (bins.lowest + bias) << mantissa
    before = (lowest >> fraction) - 1
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
    tiny = (magnitude < lowest) & (magnitude > 0)
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

"""Which exponents a threshold search must look at.

Claim: let A be the largest magnitude among n values (of an unsigned grid, the largest value), with
``2**(top-1) < A <= 2**top``, and let the grid have 2 bits or more, or be unsigned. Some threshold of
least mean squared error has an exponent from ``top - ceil(log2(n * 2**-shift + 3))`` to ``top + 1``,
shift being ``bits - signed``, and no smaller threshold is as good. Of several bit-widths the fewest ask for most.

Above: at ``2**(top+1)`` nothing is clipped, and every coarser grid is, within the range, a subset.
Below: take a threshold T < A/2 with step s and last code's value h, ``T/2 <= h < T`` and ``s <= h``.
Doubling it lowers the squared error of A by at least ``(A-h)**2 - (A-2h)**2 = h * (2A - 3h)``. A value
that loses lies within the doubled grid, whose step is 2s, and so loses at most s**2. If T is no worse
than 2T, then ``n * s**2 >= h * (2A - 3h)``, and so ``n * s + 3h >= 2A``, or
``T * (n * 2**-shift + 3) >= 2A > 2**top``.
With weights, n is the sum of the weights divided by the weight of A.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.errors import EmptyCalibration
from mpq_plugins.thresholds.candidate_grids import CandidateGrids
from mpq_plugins.thresholds.histogram import Histogram
from mpq_plugins.thresholds.row_errors import Rows, smallest_exponent

_UNPROVEN_DEPTH = 16
_DEEPEST = 64


@dataclass(frozen=True)
class RowWindow:
    """Exponents to search, relative to the offset of each row; rows without a value that counts are dead."""

    grids: CandidateGrids
    offsets: NDArray[np.int64]
    live: NDArray[np.bool_]

    def scale(self, rows: Rows) -> Rows:
        """The rows divided by ``2**offset``: exact, and all rows then share one window."""
        if not self.offsets.any():
            return rows
        values = rows.values
        if np.abs(self.offsets).max() > 100:
            values = np.asarray(np.ldexp(values.astype(np.float64), -self.offsets[:, None]))
        else:
            values = np.asarray(values * np.ldexp(1.0, -self.offsets).astype(values.dtype)[:, None])
        return Rows(values, rows.weights, float(max(-values.min(), values.max())))

    def absolute(self, relative: Sequence[int]) -> NDArray[np.int64]:
        """Exponent of each row; that of a dead row is the smallest of the live ones, or 0."""
        exponents = np.asarray(relative) + self.offsets
        exponents[~self.live] = exponents[self.live].min() if self.live.any() else 0
        return np.asarray(exponents)


def of_rows(values: NDArray[Any], weights: NDArray[Any] | None, grids: CandidateGrids, metric: str) -> RowWindow:
    """The window of rows [rows, n] of finite values."""
    if weights is None:
        reach = values.max(axis=1)
        reach = np.maximum(reach, -values.min(axis=1) if grids.signed else 0).astype(np.float64)
        elements = float(values.shape[1])
    else:
        sizes = np.abs(values) if grids.signed else np.maximum(values, 0)
        sizes = np.where(weights > 0, sizes, 0)
        reach = sizes.max(axis=1).astype(np.float64)
        heaviest = np.where(sizes == reach[:, None], weights, 0).max(axis=1)
        total = weights.sum(axis=1, dtype=np.float64)
        elements = float(np.max(total / np.where(heaviest > 0, heaviest, np.inf)))
    live = reach > 0
    tops = np.where(live, _ceil_log2(reach), 0)
    depth = _depth(elements, grids, metric)
    offsets = tops if len(tops) > 1 else np.zeros_like(tops)
    top = 0 if len(tops) > 1 else int(tops[0])
    return RowWindow(replace(grids, exponents=tuple(range(top - depth, top + 2))), offsets, live)


def of_histogram(histogram: Histogram, grids: CandidateGrids, metric: str) -> CandidateGrids:
    """The grids to search for a stream, as fine as the histogram resolves."""
    if not histogram.count:
        raise EmptyCalibration("the histogram has seen no value; run calibration data through it first")
    reach = max(-histogram.min, histogram.max) if grids.signed else histogram.max
    if reach <= 0:
        return replace(grids, exponents=(0,))
    top = int(_ceil_log2(np.asarray(reach)))
    bottom = top - _depth(float(histogram.count - histogram.zeros), grids, metric)
    if histogram.moments is not None and histogram.moments.small.any():
        bottom = min(top + 1, max(bottom, smallest_exponent(histogram, grids.bits[0], grids.signed)))
    return replace(grids, exponents=tuple(range(bottom, top + 2)))


def _depth(elements: float, grids: CandidateGrids, metric: str) -> int:
    if metric == "no_clipping":
        return 1
    proven = math.ceil(math.log2(math.ldexp(elements, -min(grids.shifts)) + 3))
    return min(proven if metric == "mse" else max(_UNPROVEN_DEPTH, proven), _DEEPEST)


def _ceil_log2(magnitude: NDArray[np.float64]) -> NDArray[np.int64]:
    mantissa, exponent = np.frexp(magnitude)
    return np.asarray(exponent - (mantissa == 0.5), dtype=np.int64)

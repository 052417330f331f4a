"""A tensor, or what a histogram kept of one, as weighted points: for errors on grids that no bins fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mpq_plugins.errors import EmptyCalibration, ThresholdError
from mpq_plugins.thresholds.float_bins import Moments
from mpq_plugins.thresholds.histogram import Histogram
from mpq_plugins.thresholds.row_errors import as_rows

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Points:
    """values, weights: [channels, n]. total: sum of all weights, [channels], of zeros that are no points too."""

    values: Array
    weights: Array
    total: Array

    @classmethod
    def of(cls, x: ArrayLike | Histogram, axis: int | None = None, weights: ArrayLike | None = None) -> Points:
        """The points of an array (one per element), or of a histogram.

        A bin becomes two points of half its weight, a standard deviation to both sides of its mean: they have
        the count, mean and variance of its values, so that a bin whose values all get one code counts exactly.
        """
        if isinstance(x, Histogram):
            if axis is not None or weights is not None:
                raise ThresholdError("a histogram knows neither channels nor weights; give the array itself")
            return _of_histogram(x)
        rows, given, _ = as_rows(x, axis, weights)
        values = rows.astype(np.float64)
        full = np.ones_like(values) if given is None else given.astype(np.float64)
        return cls(values, full, full.sum(axis=1))

    @classmethod
    def merged(cls, parts: Sequence[Points], importances: Sequence[float]) -> Points:
        """One channel of several: its mean error is the mean of theirs, weighted by importance."""
        weights = [w * part.weights[0] / part.total[0] for part, w in zip(parts, importances, strict=True)]
        total = np.array([float(sum(importances))])
        return cls(np.concatenate([p.values[0] for p in parts])[None], np.concatenate(weights)[None], total)

    def error(self, steps: Array, low: int, high: int) -> Array:
        """Mean squared error of each channel on the grid of its step, [channels].

        From an array exact; from a histogram but for the bins with a decision boundary inside.
        """
        difference = self.values - self.codes(steps, low, high) * steps[:, None]
        sums = np.einsum("cn,cn,cn->c", self.weights, difference, difference)
        return np.asarray(np.divide(sums, self.total, out=np.zeros_like(sums), where=self.total > 0))

    def codes(self, steps: Array, low: int, high: int) -> Array:
        """The code of each point, [channels, n]: half to even, clipped."""
        return np.asarray(np.clip(np.rint(self.values / steps[:, None]), low, high))


def _of_histogram(histogram: Histogram) -> Points:
    if not histogram.count:
        raise EmptyCalibration("a histogram of no values has none to fit a step to; calibrate first")
    total = np.array([float(histogram.count)])
    if histogram.moments is None:
        return Points(np.zeros((1, 1)), np.zeros((1, 1)), total)
    counts, linear, squares = _sums(histogram.moments)
    used = counts > 0
    counts, means, squares = counts[used], linear[used] / counts[used], squares[used] / counts[used]
    apart = np.sqrt(np.maximum(squares - means**2, 0.0))
    return Points(np.concatenate([means - apart, means + apart])[None], np.tile(counts / 2, 2)[None], total)


def _sums(moments: Moments) -> tuple[Array, Array, Array]:
    """Count, sum and sum of squares of the values of every bin of both signs, the pooled small ones last."""
    anchor, width, _ = moments.bins.unit_anchors()
    scale = np.ldexp(1.0, moments.bins.octave_exponents)[:, None]
    count, first, second = (m[0] for m in (moments.count, moments.first, moments.second))
    linear = scale * (anchor * count + width * first)
    squares = scale**2 * (anchor**2 * count + 2 * anchor * width * first + width**2 * second)
    sign = np.array([1.0, -1.0])
    small = moments.small[0]
    parts = (
        (count.ravel(), small[:, 0]),
        ((linear * sign[:, None, None]).ravel(), small[:, 1] * sign),
        (squares.ravel(), small[:, 2]),
    )
    counts, sums, second_sums = (np.concatenate(pair) for pair in parts)
    return counts, sums, second_sums

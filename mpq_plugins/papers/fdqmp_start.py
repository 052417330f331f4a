"""Where fdqmp starts: the range of a tensor's slices, from their statistics."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.thresholds.histogram import Histogram, as_floats, finite_range
from mpq_plugins.thresholds.weighted_points import Points
from mpq_plugins.training.slot import Observed, Slot

QUANTILE = 0.999


def start_range(slot: Slot, observed: Observed, bits: int) -> NDArray[np.float64]:
    """xmax of each slice, [] or [channels]: three deviations for an array, the 99.9th percentile for a histogram.

    max(abs(mean - 3 sigma), abs(mean + 3 sigma)), sigma of the population; of an activation the magnitude that
    99.9 % of its values do not exceed. A slice of one value that is not zero has that value's magnitude; of
    zeros only, 2**-bits (the paper's). Raises NonFiniteValues.

    >>> from mpq_plugins.hardware.op_support import Candidate
    >>> slot = Slot("w", "weight", (4,), (Candidate(4, True, False),))
    >>> round(float(start_range(slot, np.array([-0.3, -0.1, 0.1, 0.5]), 4)), 6)
    0.937412
    """
    if isinstance(observed, Histogram):
        largest = np.asarray(magnitude_quantile(observed, QUANTILE))
    else:
        values = as_floats(observed).astype(np.float64)
        if values.size:
            finite_range(values)
        mean, sigma = values.mean(axis=slot.other_axes), values.std(axis=slot.other_axes)
        largest = np.maximum(np.abs(mean - 3 * sigma), np.abs(mean + 3 * sigma))
    return np.asarray(np.where(largest > 0, largest, 2.0**-bits))


def magnitude_quantile(histogram: Histogram, share: float) -> float:
    """A magnitude that this share of the values does not exceed, to the width of a bin; 0 for zeros only.

    >>> histogram = Histogram()
    >>> histogram.update(np.arange(1001) / 1000.0)
    >>> 0.895 < magnitude_quantile(histogram, 0.9) < 0.905
    True
    """
    points = Points.of(histogram)
    magnitudes = np.abs(points.values[0])
    order = np.argsort(magnitudes)
    zeros = float(points.total[0] - points.weights[0].sum())
    reached = zeros + np.cumsum(points.weights[0][order])
    if zeros >= share * points.total[0]:
        # mostly zeros, as after a ReLU of a dead layer: the share of the values that are not
        reached = reached - zeros
    index = min(int(np.searchsorted(reached, share * reached[-1])), len(order) - 1)
    return float(magnitudes[order[index]])

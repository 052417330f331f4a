"""The one grid of several activations that must share it: least in the loss that all of them together cost.

A tensor and its pooled average share a grid on integer hardware. An element of the average moves the
loss far more than an element of what it averages, of which there are many: plain squared error over
all elements would serve the many and leave the average with a few codes. So the error of each
activation counts with its importance, the squared gradient that the predicted loss multiplies it by.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mpq_plugins.grid import Grid
from mpq_plugins.hardware.op_support import Candidate
from mpq_plugins.thresholds.free_steps import refined, search_step
from mpq_plugins.thresholds.histogram import Histogram
from mpq_plugins.thresholds.search import error_table, search_threshold
from mpq_plugins.thresholds.weighted_points import Points

OCTAVES = 16
"""Thresholds looked at below the largest that one activation by itself would choose."""


def search_shared(histograms: Sequence[Histogram], importances: Sequence[float], candidate: Candidate) -> Grid:
    """The grid of the candidate's kind with the least sum of importance times mean squared error.

    importances: one for each histogram, 0 or more; where all are 0 every element counts alike. Of power-of-two
    thresholds that tie the smallest. Raises EmptyCalibration for an empty histogram.
    """
    bits, signed = candidate.bits, candidate.signed
    if candidate.exponent is not None:
        return candidate.grid(candidate.exponent)
    if len(histograms) == 1 or not any(importances):
        merged = histograms[0]
        for other in histograms[1:]:
            merged = merged.merge(other)
        return (search_threshold if candidate.power_of_two else search_step)(merged, bits, signed)
    wished = [search_threshold(histogram, bits, signed).exponent for histogram in histograms]
    exponents = range(max(min(wished), max(wished) - OCTAVES), max(wished) + 1)
    loss = np.zeros(len(exponents))
    for histogram, importance in zip(histograms, importances, strict=True):
        loss += importance * error_table(histogram, [bits], exponents, signed).error[0]
    plain = Grid.power_of_two(bits, exponents[int(loss.argmin())], signed)
    if candidate.power_of_two:
        return plain
    return refined(Points.merged([Points.of(h) for h in histograms], importances), plain)

"""Bins filled by compiled loops, where numba is installed (``pip install mpq-plugins[fast]``) and it is worth it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.thresholds.float_bins import FloatBins, Moments
from mpq_plugins.thresholds.halvings import Halvings

WORTH_LOADING = 1 << 15
"""Elements from which on the compiler is loaded: NumPy alone takes a few milliseconds below."""


def is_worth_it(elements: int) -> bool:
    """Whether an array of so many elements goes through compiled loops."""
    if elements < WORTH_LOADING:
        return False
    from mpq_plugins.thresholds import loops

    return loops.COMPILED


def moments(values: NDArray[Any], weights: NDArray[Any] | None, bins: FloatBins) -> Moments:
    """What float_bins.Moments says, of finite float32 or float64 [rows, n] below the highest octave."""
    from mpq_plugins.thresholds.loops import bin_sums

    rows, layout = len(values), bins.layout(values.dtype)
    sums, small = np.zeros((rows, 2 * bins.slots, 3)), np.zeros((rows, 2, 3))
    fill: Any = bin_sums
    fill(*_prepared(values, weights, bins), sums, small)
    width = 0.5**layout.fraction
    parts = sums.reshape(rows, 2, bins.slots, 3)[:, :, 1:].reshape(rows, 2, bins.octaves, bins.per_octave, 3)
    count, first, second = (np.ascontiguousarray(parts[..., at]) for at in range(3))
    first *= width
    second *= width * width
    return Moments(bins, count, first, second, small)


def halved(values: NDArray[Any], weights: NDArray[Any] | None, bins: FloatBins) -> tuple[Halvings, NDArray[np.float64]]:
    """Halvings of the octaves of rows, and what float_bins.Moments calls small, without moments of bins between."""
    from mpq_plugins.thresholds.loops import octave_columns

    octaves, small = (len(values), 2, bins.octaves), np.zeros((len(values), 2, 3))
    columns, squared = np.zeros((*octaves, 2 * bins.resolution + 4)), np.zeros(octaves)
    fill: Any = octave_columns
    fill(*_prepared(values, weights, bins), columns, squared, small)
    return Halvings(columns, squared), small


def _prepared(values: NDArray[Any], weights: NDArray[Any] | None, bins: FloatBins) -> tuple[Any, ...]:
    integer, fraction, before = bins.layout(values.dtype)
    values = np.ascontiguousarray(values)
    given = np.empty((len(values), 0)) if weights is None else np.ascontiguousarray(weights, dtype=np.float64)
    magnitudes = int(np.iinfo(integer).max)
    return values, values.view(integer), given, (magnitudes, fraction, before, bins.slots), 2.0**bins.lowest

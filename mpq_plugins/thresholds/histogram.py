"""Histogram: what a stream of activations leaves behind for a threshold search, in constant memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field, ValidationError, model_validator

from mpq_plugins.errors import NonFiniteValues, RecipeError, ThresholdError
from mpq_plugins.stored.schema import Schema, problems
from mpq_plugins.thresholds.collecting import collect
from mpq_plugins.thresholds.float_bins import FloatBins, Moments, octave_above

OCTAVES = 32
NEWEST = 0.9
"""What the newest array counts in the moving average of largest magnitudes: HMQ's (2007.09952, released code)."""


class Histogram:
    """Streaming, mergeable histogram whose bins fit every power-of-two grid.

    Each octave of magnitudes, of each sign, has ``2**resolution`` bins, each with its count and first
    two moments; the 32 octaves below the largest magnitude are kept apart, smaller values are pooled.
    No decision boundary of a power-of-two grid with ``bits - signed <= resolution`` falls inside a bin
    (float_bins says why), so error_table reads mse, mae, kl and no_clipping off a histogram EXACTLY,
    to float64 rounding, and lp within the bound that error_table states.

    ``min``, ``max``, ``count`` and ``zeros`` are exact. ``moving`` is the moving average, from 0 on, of the arrays'
    largest magnitudes, and of merged streams the larger; for it alone their order matters.
    Memory: 48 * 32 * 2**resolution bytes, whatever the stream (0.4 MB at the default resolution, which serves up to 8
    unsigned or 9 signed bits).
    The order of updates and merges does not matter: bin counts are equal, moments to float64 rounding.
    Raises ThresholdError on a resolution outside 4 .. 16.

    >>> histogram = Histogram()
    >>> histogram.update(np.array([0.0, 0.5, 3.0], dtype=np.float32))
    >>> histogram.count, histogram.zeros, histogram.min, histogram.max
    (3, 1, 0.0, 3.0)
    """

    def __init__(self, resolution: int = 8) -> None:
        if not 4 <= resolution <= 16:
            raise ThresholdError(f"the resolution of a histogram must be from 4 to 16 bits, got {resolution}")
        self.resolution = int(resolution)
        self.count = 0
        self.zeros = 0
        self.min = float("inf")
        self.max = float("-inf")
        self.moving = 0.0
        self._moments: Moments | None = None

    @property
    def moments(self) -> Moments | None:
        """Moments of the bins (one row), or None while only zeros, or nothing, has been seen."""
        return self._moments

    def update(self, x: ArrayLike) -> None:
        """Add every element of an array. Raises NonFiniteValues, and adds nothing, on NaN or infinity."""
        values = as_floats(x).reshape(1, -1)
        if not values.size:
            return
        low, high = finite_range(values)
        self.count += values.size
        self.zeros += values.size - int(np.count_nonzero(values))
        self.min, self.max = min(self.min, low), max(self.max, high)
        self.follow(max(-low, high))
        if low == high == 0.0:
            return
        top = octave_above(max(-low, high))
        if self._moments is not None:
            top = max(top, _top(self._moments.bins))
        if values.dtype == np.float32 and top - OCTAVES < -126:
            values = values.astype(np.float64)
        bins = FloatBins(self.resolution, max(top - OCTAVES, -1022), OCTAVES)
        self._add(collect(values, bins))

    def follow(self, *largest: float) -> None:
        """Move the average on by the largest magnitudes of arrays, in their order."""
        for magnitude in largest:
            self.moving += NEWEST * (abs(magnitude) - self.moving)

    def merge(self, other: Histogram) -> Histogram:
        """A new histogram of both streams. Raises ThresholdError when the resolutions differ."""
        if self.resolution != other.resolution:
            raise ThresholdError(
                f"histograms of resolution {self.resolution} and {other.resolution} do not merge; "
                "build both with the same"
            )
        merged = Histogram(self.resolution)
        for part in (self, other):
            merged.count += part.count
            merged.zeros += part.zeros
            merged.min, merged.max = min(merged.min, part.min), max(merged.max, part.max)
            merged.moving = max(merged.moving, part.moving)
            if part._moments is not None:
                merged._add(part._moments)
        return merged

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers and lists, for a checkpoint or JSON; only the bins in use are listed."""
        state: dict[str, Any] = {"resolution": self.resolution, "count": self.count, "zeros": self.zeros}
        if self.count:
            state |= {"min": self.min, "max": self.max, "moving": self.moving}
        if self._moments is not None:
            m = self._moments
            used = np.flatnonzero(m.count)
            sums = {"counts": m.count, "first": m.first, "second": m.second}
            listed = {name: values.ravel()[used].tolist() for name, values in sums.items()}
            state |= {"lowest": m.bins.lowest, "bins": used.tolist(), "small": m.small.ravel().tolist(), **listed}
        return state

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> Histogram:
        """The histogram that ``to_dict`` described. Raises RecipeError on a damaged description."""
        try:
            described = _Described.model_validate(state)
        except ValidationError as error:
            raise RecipeError(f"this is no histogram: {problems(error)}; calibrate again") from None
        histogram = cls(described.resolution)
        histogram.count, histogram.zeros = described.count, described.zeros
        if described.min is not None and described.max is not None:
            histogram.min, histogram.max = described.min, described.max
            histogram.moving = max(-described.min, described.max) if described.moving is None else described.moving
        histogram._moments = described.moments()
        return histogram

    def _add(self, new: Moments) -> None:
        if self._moments is None:
            self._moments = new
            return
        top = max(_top(self._moments.bins), _top(new.bins))
        old, new = _raised(self._moments, top), _raised(new, top)
        self._moments = Moments(
            old.bins,
            old.count + new.count,
            old.first + new.first,
            old.second + new.second,
            old.small + new.small,
        )

    def __repr__(self) -> str:
        if not self.count:
            return "Histogram(empty)"
        return f"Histogram(count={self.count}, zeros={self.zeros}, min={self.min:g}, max={self.max:g})"


class _Described(Schema):
    """What ``to_dict`` gives. bins: flat numbers of the bins in use, whose counts and moments the lists of sums are."""

    resolution: int = Field(ge=4, le=16)
    count: int = Field(ge=0)
    zeros: int = Field(ge=0)
    min: float | None = None
    max: float | None = None
    moving: float | None = None
    lowest: int = Field(default=0, ge=-1022, le=1023)
    bins: list[int] | None = None
    counts: list[float] = Field(default_factory=list)
    first: list[float] = Field(default_factory=list)
    second: list[float] = Field(default_factory=list)
    small: list[float] = Field(default_factory=list)

    @model_validator(mode="after")
    def _fits(self) -> _Described:
        if (self.min is None or self.max is None) != (self.count == 0):
            raise ValueError("values have a least and a largest one")
        if self.bins is None:
            return self
        if not len(self.bins) == len(self.counts) == len(self.first) == len(self.second) or len(self.small) != 6:
            raise ValueError("every bin has a count and two moments, and what is small has six")
        if self.bins and not 0 <= min(self.bins) <= max(self.bins) < 2 * OCTAVES * 2**self.resolution:
            raise ValueError(f"there are {2 * OCTAVES} octaves of 2**resolution bins")
        return self

    def moments(self) -> Moments | None:
        """The moments of all bins, or None where no value but zero was seen."""
        if self.bins is None:
            return None
        bins = FloatBins(self.resolution, self.lowest, OCTAVES)
        full = np.zeros((3, 2 * OCTAVES * bins.per_octave))
        full[:, self.bins] = self.counts, self.first, self.second
        count, first, second = full.reshape(3, 1, 2, OCTAVES, bins.per_octave)
        return Moments(bins, count, first, second, np.asarray(self.small).reshape(1, 2, 3))


def as_floats(x: ArrayLike) -> NDArray[Any]:
    """The array as contiguous float32 (from float32 or less) or float64, native byte order."""
    array = np.asarray(x)
    kept = array.dtype.kind == "f" and array.dtype.itemsize <= 4
    return np.ascontiguousarray(array, dtype=np.float32 if kept else np.float64)


def finite_range(values: NDArray[Any]) -> tuple[float, float]:
    """(min, max) of a non-empty array; raises NonFiniteValues with the counts."""
    low, high = float(values.min()), float(values.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        nans = int(np.count_nonzero(np.isnan(values)))
        infinite = int(np.count_nonzero(np.isinf(values)))
        raise NonFiniteValues(
            f"{nans} NaN and {infinite} infinite among {values.size} values; "
            "find the layer that makes them, or leave those samples out"
        )
    return low, high


def _top(bins: FloatBins) -> int:
    return bins.lowest + bins.octaves


def _raised(moments: Moments, top: int) -> Moments:
    """The same sums with the window of octaves moved up to ``top``; octaves that fall out are pooled."""
    bins = moments.bins
    up = top - _top(bins)
    if not up:
        return moments
    raised = FloatBins(bins.resolution, bins.lowest + up, bins.octaves)
    out = min(up, bins.octaves)
    anchor, width, _ = bins.unit_anchors()
    scale = np.ldexp(1.0, bins.octave_exponents[:out])[:, None]
    count, first, second = (m[:, :, :out] for m in (moments.count, moments.first, moments.second))
    linear = scale * (anchor * count + width * first)
    squares = scale**2 * (anchor**2 * count + 2 * anchor * width * first + width**2 * second)
    pooled = np.stack([m.sum(axis=(2, 3)) for m in (count, linear, squares)], axis=-1)
    shifted = []
    for m in (moments.count, moments.first, moments.second):
        moved = np.zeros_like(m)
        moved[:, :, : bins.octaves - out] = m[:, :, out:]
        shifted.append(moved)
    return Moments(raised, shifted[0], shifted[1], shifted[2], moments.small + pooled)

"""Threshold search: the joint table of error over power-of-two thresholds and bit-widths."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mpq_plugins.errors import ThresholdError
from mpq_plugins.grid import Grid
from mpq_plugins.thresholds import search_window
from mpq_plugins.thresholds.candidate_grids import CandidateGrids
from mpq_plugins.thresholds.histogram import Histogram
from mpq_plugins.thresholds.row_errors import as_rows, histogram_errors, row_errors

METRICS = ("mse", "mae", "lp", "kl", "no_clipping")
_TIE = 1.0 + 2.0**-40

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class ErrorTable:
    """Mean error of every power-of-two grid over bit-widths and thresholds.

    error: float64 [bits, exponents], or [bits, exponents, channels] when axis is set; the entry at
    (b, k) belongs to ``Grid.power_of_two(bits[b], exponents[k], signed, narrow)``.
    """

    error: Array
    bits: tuple[int, ...]
    exponents: tuple[int, ...]
    signed: bool
    narrow: bool
    axis: int | None
    metric: str

    def best(self, bits: int) -> Grid:
        """The grid of least error at this bit-width; of grids that tie, the smallest threshold.

        Errors within a factor 1 + 2**-40 of the least are ties, so that the choice does not hang on
        the order of summation. Raises ThresholdError when the table has no such bit-width.
        """
        chosen = np.asarray(self.exponents)[self._best_index(bits)]
        return Grid.power_of_two(bits, np.ravel(chosen), self.signed, self.narrow, self.axis)

    def best_error(self, bits: int) -> float | Array:
        """Mean error of ``best(bits)``: a float, or one per channel."""
        row, index = self.error[self._row(bits)], self._best_index(bits)
        if self.axis is None:
            return float(row[index])
        return np.asarray(np.take_along_axis(row, index[None], axis=0)[0])

    def _row(self, bits: int) -> int:
        if bits not in self.bits:
            raise ThresholdError(f"the table has {self.bits} bits, not {bits}; ask error_table for it")
        return self.bits.index(bits)

    def _best_index(self, bits: int) -> NDArray[np.intp]:
        row = self.error[self._row(bits)]
        tied = row <= row.min(axis=0) * _TIE
        order = np.argsort(self.exponents)
        return np.asarray(order[np.argmax(tied[order], axis=0)])


def error_table(
    x: ArrayLike | Histogram,
    bits: Iterable[int] = range(2, 9),
    exponents: Iterable[int] = range(-7, 1),
    signed: bool = True,
    metric: str = "mse",
    axis: int | None = None,
    narrow: bool = False,
    weights: ArrayLike | None = None,
    p: float = 2.4,
) -> ErrorTable:
    """Mean error of x on every power-of-two grid with these bits and thresholds ``2**exponent``.

    x: array of any shape, or a Histogram (then axis and weights stay None). axis: the channel axis;
    each channel gets its own table; None for the whole tensor. weights: finite values >= 0 that
    broadcast to x (second moments, a Hessian diagonal, a 0/1 outlier mask), for mse, mae and lp: an
    entry is then sum(w * error) / sum(w), and 0 where all weights of a channel are zero.

    Metrics, with q(x) the nearest grid value (ties of rounding cost the same either way):

    * mse: mean (x-q)**2. mae: mean abs(x-q). lp: mean abs(x-q)**p, p >= 1.
    * no_clipping: the farthest that a rounded value lies outside the grid (of an unsigned grid: above
      it); ``best`` is the smallest power-of-two threshold that clips nothing after rounding.
    * kl: the Kullback-Leibler divergence, in nats, from the density of the values to the density that a
      reader of the codes would draw: sum p*log(p/width) over bins - sum m*log(m/length) over cells.
      p: shares of the nonzero values in a histogram with 256 bins in each octave of magnitude
      (2**(bits-signed), of the largest bits, where that is more), down to 2**-32 of the power of two
      above the largest (or to half of the finest step), and a bin for what is smaller still. m: shares
      of the codes, each spread evenly over its cell, half a step to both sides of its value; the
      outermost cells reach to the power of two above the largest magnitude of that sign, or end at
      zero where that sign has no value; a boundary belongs to the cell farther from zero. Exact zeros
      lie on every grid and are left out. Unlike histogram-entropy calibrators this smooths nothing.

    Every entry is exact to float64 rounding, from an array and from a Histogram. The exception is lp from
    a Histogram: convexity puts the error of a bin between the error at its mean value and the chord
    there, and the middle is taken. That is off by at most ``p * w * d**(p-1) / 8`` for each value x,
    ``w <= abs(x) * 2**-resolution`` being the width of its bin and d the distance from its grid value
    to the far end of the bin. Squares of values must be within float64.

    One pass over the data collects moments in bins that fit every grid of the table (float_bins says
    why); small channels, and lp, go element by element with one rounding for each distinct step.

    Raises NonFiniteValues, EmptyCalibration (no element), GridError (bits), ThresholdError (metric, p,
    axis, weights, exponents, a grid finer than a histogram resolves).

    >>> table = error_table([0.3, -0.6, 0.9], bits=[2, 4], exponents=[-1, 0])
    >>> table.error.shape, table.best(4).exponent
    ((2, 2), 0)
    """
    grids = CandidateGrids.of(bits, exponents, signed, narrow)
    power = _power(metric, p)
    if isinstance(x, Histogram):
        _refuse_channels_and_weights(axis, weights)
        errors = histogram_errors(x, grids, metric, power)
    else:
        _refuse_weights(metric, weights)
        errors = row_errors(as_rows(x, axis, weights), grids, metric, power)
    return _table(errors, grids, metric, axis)


def search_threshold(
    x: ArrayLike | Histogram,
    bits: int,
    signed: bool = True,
    metric: str = "mse",
    axis: int | None = None,
    narrow: bool = False,
    weights: ArrayLike | None = None,
    exponents: Iterable[int] | None = None,
    p: float = 2.4,
) -> Grid:
    """The power-of-two Grid of least error for x, per tensor or per channel along axis.

    Arguments, metrics, ties and errors are those of error_table. Exponents, unless given, are chosen
    from the data, for each channel apart, wide enough that mse finds what a search over ALL exponents
    would (search_window has the proof); mae, lp and kl look at 16 or more exponents below the data's.
    A Histogram is searched down to the smallest threshold that it resolves.

    A tensor without a value that counts (all zero, all of weight zero, or nothing above zero for an
    unsigned grid) gets threshold 1; such a channel gets the smallest threshold of the other channels,
    so that the step of its accumulator, which its bias shares, is no coarser than theirs.

    >>> search_threshold([0.3, -0.6, 0.9, 0.05], bits=4)
    Grid(bits=4, steps=(0.125,), signed=True, narrow=False, axis=None)
    >>> search_threshold(np.zeros(3), bits=4).threshold
    1.0
    """
    if exponents is not None:
        return error_table(x, [bits], exponents, signed, metric, axis, narrow, weights, p).best(bits)
    power = _power(metric, p)
    grids = CandidateGrids.of([bits], [0], signed, narrow)
    if isinstance(x, Histogram):
        _refuse_channels_and_weights(axis, weights)
        grids = search_window.of_histogram(x, grids, metric)
        return _table(histogram_errors(x, grids, metric, power), grids, metric, None).best(bits)
    _refuse_weights(metric, weights)
    return _searched(x, grids, metric, power, axis, weights)[bits]


def search_thresholds(
    x: ArrayLike, bits: Sequence[int], axis: int | None = None, narrow: bool = False
) -> dict[int, Grid]:
    """For each bit-width the signed grid that search_threshold finds for the array by mse, from one table of them all.

    >>> {bits: grid.exponent for bits, grid in search_thresholds([0.3, -0.6, 0.9, 0.05], [2, 4]).items()}
    {2: 0, 4: 0}
    """
    return _searched(x, CandidateGrids.of(bits, [0], True, narrow), "mse", 2.0, axis, None)


def _searched(
    x: ArrayLike, grids: CandidateGrids, metric: str, power: float, axis: int | None, weights: ArrayLike | None
) -> dict[int, Grid]:
    """The best grid of an array at each bit-width, whatever the exponents of ``grids``."""
    rows = as_rows(x, axis, weights)
    window = search_window.of_rows(rows.values, rows.weights, grids, metric)
    errors = row_errors(window.scale(rows), window.grids, metric, power)
    table = _table(errors, window.grids, metric, 0)
    found = {bits: window.absolute(table.best(bits).exponents) for bits in grids.bits}
    return {b: Grid.power_of_two(b, exponents, grids.signed, grids.narrow, axis) for b, exponents in found.items()}


def _power(metric: str, p: float) -> float:
    if metric not in METRICS:
        raise ThresholdError(f"no metric {metric!r}; there are {', '.join(METRICS)}")
    if metric == "lp" and not (p >= 1 and math.isfinite(p)):
        raise ThresholdError(f"the lp metric needs a finite p of 1 or more, got {p}")
    return {"mse": 2.0, "mae": 1.0}.get(metric, float(p))


def _refuse_channels_and_weights(axis: int | None, weights: ArrayLike | None) -> None:
    if axis is not None or weights is not None:
        raise ThresholdError("a histogram knows neither channels nor weights; give the array itself")


def _refuse_weights(metric: str, weights: ArrayLike | None) -> None:
    if weights is not None and metric in ("kl", "no_clipping"):
        raise ThresholdError(f"the metric {metric} takes no weights; mse, mae and lp do")


def _table(errors: Array, grids: CandidateGrids, metric: str, axis: int | None) -> ErrorTable:
    table = errors[0] if axis is None else np.moveaxis(errors, 0, -1)
    return ErrorTable(table, grids.bits, grids.exponents, grids.signed, grids.narrow, axis, metric)

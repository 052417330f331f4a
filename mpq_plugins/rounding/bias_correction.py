"""Bias after rounding: the float mean of the output given back, on the grid of the accumulator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mpq_plugins.errors import MPQError
from mpq_plugins.graph.accumulator import INT32_LIMIT, accumulator_step, snap_bias
from mpq_plugins.grid import Grid
from mpq_plugins.rounding.factor import Factor, check_finite
from mpq_plugins.rounding.factored import Factored
from mpq_plugins.rounding.levels import along_rows, levels_on
from mpq_plugins.rounding.moments.few_moments import FewMoments
from mpq_plugins.rounding.moments.layer_moments import DAMPING, Array, LayerMoments, by_group
from mpq_plugins.rounding.row_parts import row_parts
from mpq_plugins.rounding.search import Each, Rows, search_values


def corrected_bias(quantized: ArrayLike, moments: LayerMoments | FewMoments) -> Array:
    """The bias with which the quantized layer has the wished mean output: ``E[y] - W_q E[x]``, [out].

    quantized: the weight on its grid, [out, in]. x is the quantized input and y the wished output
    (layer_moments.py), so the correction covers the rounding of the weight and of everything before it.

    >>> moments = LayerMoments.of_float_layer([[0.3]], [1.0], gram=[[4.0]], input_mean=[2.0])
    >>> corrected_bias([[0.25]], moments)
    array([1.1])
    """
    rows, means = by_group(np.asarray(quantized), moments.groups), moments.input_mean[:, :, None]
    parts = [rows[:, part].astype(np.float64) @ means for part in row_parts(rows.shape)]
    return np.asarray(moments.output_mean - np.concatenate(parts, axis=1).reshape(-1))


def quantize_layer(
    weight: ArrayLike,
    bias: ArrayLike,
    moments: LayerMoments | FewMoments,
    grid: Grid,
    input_step: float,
    damping: float = DAMPING,
    sweeps: int = 2,
    name: str = "weight",
    each: Each = map,
) -> tuple[NDArray[np.floating[Any]], Array]:
    """Weight and bias of one layer on their grids, with the least output error that rounding can reach.

    Regresses the wished output (``LayerMoments.regression``), rounds with compensation, corrects the bias and
    snaps it. Idempotent: a weight that already lies on its grid stays where it is, whatever the
    data say, and so does a bias on the accumulator's grid next to such a weight.

    weight: [out, in]; bias: [out]. each: as of search_values. Returns the weight in its own float type, which holds
    what lies on a grid of 8 bits, and the bias in float64.
    """
    w, b = np.asarray(weight), np.asarray(bias)
    w = w if np.issubdtype(w.dtype, np.floating) else w.astype(np.float64)
    if w.ndim != 2 or b.shape != (len(w),):
        raise MPQError(f"{name}: a weight of shape {w.shape} and a bias of shape {b.shape} make no layer")
    if along_rows(grid, len(w)).holds(w):
        quantized = w
        snapped = snap_bias(b, input_step, grid, name)
        if np.array_equal(snapped.astype(b.dtype), b):
            return quantized, snapped
    else:
        target, factor = _regressed(w, moments, damping)
        levels, quantized = levels_on(along_rows(grid, len(w)), target.shape[:2]), np.empty_like(w, order="C")
        search_values(target, factor, levels, sweeps, by_group(quantized, target.shape[0]), each)
    return quantized, snap_corrected(b, corrected_bias(quantized, moments), input_step, grid, name)


def snap_corrected(bias: ArrayLike, corrected: Array, input_step: float, grid: Grid, name: str) -> Array:
    """A corrected bias as snap_bias gives it, at most half of what the accumulator holds, or the bias of before.

    A layer that is scaled to next to nothing cannot make up for the error of what it is added to.
    """
    most = np.maximum(np.abs(np.asarray(bias)), (INT32_LIMIT + 1) / 2 * accumulator_step(input_step, grid))
    return snap_bias(np.clip(corrected, -most, most), input_step, grid, name)


def _regressed(
    weight: NDArray[np.floating[Any]], moments: LayerMoments | FewMoments, damping: float
) -> tuple[Rows, Factor]:
    """The real-valued weight that gives the wished output best, and the curvature about it."""
    check_finite("weight", weight)
    if isinstance(moments, FewMoments):
        return moments.regressed(weight, damping)
    found, factor = Factored.solving(*moments.regression(weight, damping))
    return Held(found), factor


@dataclass(frozen=True, eq=False)
class Held:
    """Rows that are all there, [groups, rows, in]."""

    array: Array

    @property
    def shape(self) -> tuple[int, int, int]:
        """groups, rows, in."""
        groups, rows, size = self.array.shape
        return groups, rows, size

    def rows(self, part: slice) -> Array:
        """Some rows of every group."""
        return self.array[:, part]

"""A weight rounded by one curvature, and the grid of least output error: what sweeps do layer by layer, at one call."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mpq_plugins.errors import MPQError
from mpq_plugins.grid import Grid
from mpq_plugins.rounding.choice import Kind, choose_each
from mpq_plugins.rounding.factor import Factor, check_finite
from mpq_plugins.rounding.factored import Factored
from mpq_plugins.rounding.levels import Levels, along_rows, levels_on
from mpq_plugins.rounding.moments.layer_moments import Array, by_group, damped
from mpq_plugins.rounding.search import row_error, search_codes


def output_error(quantized: ArrayLike, target: ArrayLike, curvature: ArrayLike) -> Array:
    """``(Q - W) A (Q - W)^T`` of each row: the output error of each output channel, [out].

    quantized, target: [out, in]; curvature: [in, in] or [groups, in, in].
    """
    matrix = _curvature(curvature)
    difference = by_group(np.asarray(quantized, dtype=np.float64) - np.asarray(target), len(matrix))
    return row_error(difference, matrix).reshape(-1)


def round_compensated(
    target: ArrayLike, curvature: ArrayLike | Factor, grid: Grid, damping: float = 0.0, sweeps: int = 2
) -> Array:
    """Values on the grid that give the output of ``target`` with little error, never more than nearest.

    target: [out, in], out being the concatenation of equal groups of rows (a depthwise convolution:
        as many groups as channels). A target that lies on the grid is returned as it is.
    curvature: symmetric positive semidefinite, [in, in] or [groups, in, in]; singular and all-zero
        ones are legal, a weight whose input is always zero goes to its nearest value. Factored already, it is
        taken as it is.
    grid: one step, or one per row (its axis is taken to be the rows).
    damping: added to the diagonal, as a fraction of its mean (moments already carry theirs).
    sweeps: of coordinate descent; each can only lower the error.

    Returns float64 [out, in]. Raises NonFiniteValues, GridError (number of steps), MPQError (shapes).

    >>> a, grid = np.array([[1.0, 0.9], [0.9, 1.0]]), Grid.power_of_two(4, 3)
    >>> round_compensated([[0.4, 0.4]], a, grid)
    array([[0., 1.]])
    """
    weight = _checked(target, curvature)
    rows = by_group(weight, _groups(curvature))
    grid = along_rows(grid, len(weight))
    if grid.holds(weight):
        return weight
    levels = levels_on(grid, rows.shape[:2])
    codes = _codes(rows, curvature, levels, damping, sweeps)
    return (codes * levels.step[:, :, None]).reshape(weight.shape)


def choose_exponents(
    target: ArrayLike,
    curvature: ArrayLike,
    bits: int,
    exponents: Sequence[ArrayLike],
    per_channel: bool = False,
    row_weights: ArrayLike | None = None,
) -> tuple[Grid, Array]:
    """The power-of-two grid of least output error AFTER compensation, and the weight rounded onto it.

    exponents: candidate thresholds ``2**exponent``; each one number, or one per output channel.
    row_weights: importance of each output channel, [out], where one grid serves them all.
    All candidates are rounded in one pass, and compared by what feedback leaves; descent and the guard are for the
    chosen grid alone.

    Returns the Grid (axis 0 if per channel) and float64 values [out, in].
    """
    steps = [np.ldexp(1.0, np.asarray(e, dtype=np.int64) - (bits - 1)) for e in exponents]
    _checked(target, curvature)
    factored = Factored.of(_curvature(curvature))
    return next(choose_each(target, factored, [Kind(bits, steps, per_channel, narrow=False)], row_weights, sweeps=2))


def _codes(
    rows: Array, curvature: ArrayLike | Factor, levels: Levels, damping: float, sweeps: int
) -> NDArray[np.float32]:
    """Codes [groups, rows, in]; the guard looks at the curvature as it is given, without damping."""
    if isinstance(curvature, Factor):
        return search_codes(rows, curvature, levels, sweeps)
    matrix = _curvature(curvature)
    if not damping:
        return search_codes(rows, Factored.of(matrix), levels, sweeps)
    return search_codes(rows, Factored.of(damped(matrix, damping)), levels, sweeps, plain=matrix)


def _curvature(curvature: ArrayLike) -> Array:
    matrix = np.asarray(curvature, dtype=np.float64)
    return matrix[None] if matrix.ndim == 2 else matrix


def _groups(curvature: ArrayLike | Factor) -> int:
    return curvature.shape[0] if isinstance(curvature, Factor) else len(_curvature(curvature))


def _checked(target: ArrayLike, curvature: ArrayLike | Factor) -> Array:
    weight = np.asarray(target, dtype=np.float64)
    shape = curvature.shape if isinstance(curvature, Factor) else _curvature(curvature).shape
    if weight.ndim != 2 or len(shape) != 3 or shape[1:] != (weight.shape[1],) * 2:
        raise MPQError(f"a weight of shape {weight.shape} needs a curvature [groups, in, in], not {shape}")
    check_finite("weight", weight)
    if not isinstance(curvature, Factor):  # which was looked at when it was factored
        check_finite("curvature", _curvature(curvature))
    return weight

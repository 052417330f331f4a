"""Codes of a layer's rows: feedback, descent, and the guard that keeps nearest rounding where it is no worse.

The error of a layer's output is quadratic in the weight: E(Q) = tr((Q - W) A (Q - W)^T), A the Gram
matrix or covariance of the inputs (layer_moments.py). Rounding to nearest ignores that A is far from
diagonal. Here columns are rounded one after another, each first moved by what makes up for the
errors made so far (the OBQ / GPTQ family, 2208.11580, 2210.17323, in its feedback form: with
A = U D U^T, U upper triangular with ones on its diagonal, W_j moves by -sum_{i<j} (Q_i - W_i) U_ij, no inverse
needed); then cyclic coordinate descent over the codes (QuantEase, 2309.01885) removes what greed left over.
Output channels are independent, so everything is vectorised over them, and over candidate grids.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.rounding.descent import descend
from mpq_plugins.rounding.factor import Factor, Single
from mpq_plugins.rounding.feedback import feedback, feedback_error
from mpq_plugins.rounding.levels import Levels
from mpq_plugins.rounding.moments.layer_moments import Array
from mpq_plugins.rounding.row_parts import row_parts

_SURE = 1 - 2.0**-10
"""A ratio of two errors that float32 does not mistake for 1."""


class Rows(Protocol):
    """What is to be rounded, row by row: a weight, or what a regression makes of one."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """groups, rows, in."""

    def rows(self, part: slice) -> Array:
        """Some rows of every group, float64 [groups, rows, in]."""


Each = Callable[[Callable[[slice], None], Iterable[slice]], Iterable[None]]
"""As ``map``, which may be side by side."""


def search_values(
    target: Rows, factor: Factor, levels: Levels, sweeps: int, found: NDArray[np.floating[Any]], each: Each = map
) -> None:
    """Values on the grid of every row, by ``search_codes``, into ``found`` [groups, rows, in], part by part.

    each: works on the parts, in any order.
    """

    def work(part: slice) -> None:
        own = levels.rows(part)
        codes = _searched(target.rows(part), factor, own, sweeps, None)
        found[:, part] = codes * own.step[:, :, None]

    for _ in each(work, row_parts(target.shape)):
        pass


def search_codes(
    target: NDArray[Any],
    factor: Factor,
    levels: Levels,
    sweeps: int,
    plain: Array | None = None,
    of: NDArray[np.intp] | None = None,
) -> NDArray[np.float32]:
    """Codes [groups, rows, in] of target [groups, rows, in], no worse in any row than nearest rounding.

    plain: the curvature [groups, in, in] by which the guard compares; by default the factored one.
    of: which row of the target each row of the levels is for, where one is searched on several grids.
    """
    found = np.empty((*levels.step.shape, target.shape[2]), np.float32)
    for part in row_parts(found.shape):
        found[:, part] = _searched(_taken(target, of, part), factor, levels.rows(part), sweeps, plain)
    return found


def _searched(
    rows: NDArray[Any], factor: Factor, levels: Levels, sweeps: int, plain: Array | None
) -> NDArray[np.float32]:
    columns, low, high = _in_steps(rows, factor, levels)
    codes = feedback(columns, factor, low, high).codes
    for _ in range(sweeps):
        if not descend(codes, columns, factor, low, high):
            break
    return _guarded(codes, columns, rows, factor, levels, plain)


def feedback_errors(target: NDArray[Any], factor: Factor, levels: Levels, of: NDArray[np.intp]) -> Array:
    """The errors [groups, rows] of the target's codes after feedback, by which steps are compared."""
    found = np.empty(levels.step.shape)
    for part in row_parts((*levels.step.shape, target.shape[2])):
        own = levels.rows(part)
        columns, low, high = _in_steps(_taken(target, of, part), factor, own)
        errors = feedback_error(feedback(columns, factor, low, high), factor)
        found[:, part] = errors * own.step**2
    return found


def row_error(differences: Array, curvature: Array) -> Array:
    """``d A d^T`` of each row, [groups, rows], from differences [groups, rows, in]."""
    error: Array = np.einsum("gri,gri->gr", differences @ curvature, differences)
    return error


def _taken(target: NDArray[Any], of: NDArray[np.intp] | None, part: slice) -> Array:
    return target[:, part] if of is None else target[:, of[part]]


def in_steps(rows: NDArray[Any], step: Array) -> Single:
    """Rows [groups, rows, in] over their steps, the quotients of float64 in float32."""
    found = np.empty(rows.shape, np.float32)
    np.divide(rows, step[:, :, None], out=found, dtype=np.float64, casting="same_kind")
    return found


def _in_steps(rows: NDArray[Any], factor: Factor, levels: Levels) -> tuple[Single, Single, Single]:
    """Ordered columns, lowest and highest codes of rows, in units of their steps."""
    columns = factor.ordered(in_steps(rows, levels.step))
    return columns, levels.low.astype(np.float32), levels.high.astype(np.float32)


def _guarded(
    codes: Single, columns: Single, rows: NDArray[Any], factor: Factor, levels: Levels, plain: Array | None
) -> NDArray[np.float32]:
    """Row by row the codes of less error, nearest ones where both are equal; [groups, rows, in].

    The factor's float32 errors decide where they differ clearly, float64 products the others.
    """
    nearest = levels.nearest(rows.transpose(2, 0, 1)).transpose(1, 2, 0)
    ours = factor.restored(codes)
    undecided = np.any(ours != nearest, axis=2)
    if plain is None:
        near = factor.ordered(nearest.astype(np.float32)) - columns
        ridge = factor.ridge[:, None] * np.einsum("igr,igr->gr", near, near)
        better = factor.errors(codes - columns) < _SURE * (factor.errors(near) - ridge)
        undecided &= ~better
    for group, row in _rows_by_group(undecided):
        step = levels.step[group, row, None]
        both = [found[group, row] * step - rows[group, row] for found in (ours, nearest)]
        own, other = (
            factor.row_errors(group, d) if plain is None else row_error(d[None], plain[group : group + 1])[0]
            for d in both
        )
        ours[group, row] = np.where((own < other)[:, None], ours[group, row], nearest[group, row])
    return ours


def _rows_by_group(chosen: NDArray[np.bool_]) -> Iterator[tuple[int, NDArray[np.intp]]]:
    for group in np.flatnonzero(chosen.any(axis=1)).tolist():
        yield group, np.flatnonzero(chosen[group])

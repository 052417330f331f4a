"""The search for integer codes under a quadratic error: greedy with feedback, then coordinate descent.

Everything is vectorised over groups (each with its own curvature) and over the rows of a group
(output channels, or candidate grids of them), which do not interact.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.errors import MPQError
from mpq_plugins.moments import damped

Array = NDArray[np.float64]
_BLOCK = 32  # columns between two updates of all that remains: small loops, large matrix products
_RIDGES = (1e-10, 1e-6, 1e-2, 1.0)  # of the mean diagonal: a singular curvature, or a float32 one, has no factor


@dataclass(frozen=True)
class Levels:
    """Step, lowest and highest code of every row, [groups, rows]."""

    step: Array
    low: Array
    high: Array

    def nearest(self, values: Array) -> Array:
        """Codes of values [..., groups, rows]: half to even, clipped."""
        return np.clip(np.rint(values / self.step), self.low, self.high)


def search_codes(target: Array, curvature: Array, levels: Levels, damping: float, sweeps: int) -> Array:
    """Codes [groups, rows, in] of target [groups, rows, in]."""
    # The columns that matter most go first, while all the others can still make up for them.
    order = np.argsort(-np.einsum("gii->gi", curvature), axis=1, kind="stable")
    plain = np.take_along_axis(np.take_along_axis(curvature, order[:, :, None], 1), order[:, None, :], 2)
    matrix = damped(plain, damping) if damping else plain
    # Columns lead: the loops below walk along the first axis, so every step reads contiguous memory.
    columns = np.ascontiguousarray(np.take_along_axis(target, order[:, None, :], 2).transpose(2, 0, 1))
    nearest = levels.nearest(columns)
    codes = _better(_feedback(columns, matrix, levels), nearest, columns, matrix, levels)
    for _ in range(sweeps):
        if not _descend(codes, columns, matrix, levels):
            break
    if damping:
        codes = _better(codes, nearest, columns, plain, levels)
    back = np.argsort(order, axis=1)
    return np.take_along_axis(codes.transpose(1, 2, 0), back[:, None, :], 2)


def _feedback(columns: Array, matrix: Array, levels: Levels) -> Array:
    """Codes [in, groups, rows], column after column, errors fed back to the columns still to come."""
    size = len(columns)
    upper = _upper_factor(matrix)
    feedback = upper / np.einsum("gii->gi", upper)[:, None, :]
    codes, errors = np.empty_like(columns), np.empty_like(columns)
    for start in range(0, size, _BLOCK):
        stop = min(start + _BLOCK, size)
        past = np.matmul(feedback[:, :start, start:stop].transpose(0, 2, 1), errors[:start].transpose(1, 0, 2))
        moved = columns[start:stop] - past.transpose(1, 0, 2)
        inner = np.ascontiguousarray(feedback[:, start:stop, start:stop].transpose(1, 2, 0))[:, :, :, None]
        for j in range(stop - start):
            codes[start + j] = levels.nearest(moved[j])
            errors[start + j] = codes[start + j] * levels.step - columns[start + j]
            moved[j + 1 :] -= inner[j, j + 1 :] * errors[start + j]
    return codes


def _upper_factor(matrix: Array) -> Array:
    """R, upper triangular, with matrix = R R^T up to a ridge, as small a one of _RIDGES as will do, or the trace.

    With the trace every matrix factors whose elements are no larger than their diagonals allow, so no
    rounding of moments is refused. Raises MPQError for any other.
    """
    for ridge in (*_RIDGES, float(matrix.shape[-1])):
        try:  # the Cholesky factor of the matrix in reverse order, reversed
            return np.asarray(np.linalg.cholesky(damped(matrix, ridge)[:, ::-1, ::-1])[:, ::-1, ::-1])
        except np.linalg.LinAlgError:
            continue
    lowest = float(np.linalg.eigvalsh(matrix).min())
    raise MPQError(f"a curvature with eigenvalue {lowest:.3g} is no Gram matrix or covariance; none is negative")


def _descend(codes: Array, columns: Array, matrix: Array, levels: Levels) -> bool:
    """One sweep of coordinate descent, in place: every code in turn goes to its best value, the others fixed.

    Returns whether any code changed. The error never rises: each move is the exact minimum along its
    coordinate, and a coordinate without curvature (an input that is always zero) stays.
    """
    size, changed = len(columns), False
    slope = _slope(codes * levels.step - columns, matrix)
    diagonal = np.einsum("gii->ig", matrix)[:, :, None]
    for start in range(0, size, _BLOCK):
        stop = min(start + _BLOCK, size)
        local = slope[start:stop].copy()
        inner = np.ascontiguousarray(matrix[:, start:stop, start:stop].transpose(1, 2, 0))[:, :, :, None]
        moves = np.zeros_like(local)
        for j in range(stop - start):
            curved = diagonal[start + j] > 0
            newton = local[j] / np.where(curved, diagonal[start + j], 1.0) / levels.step
            best = np.clip(np.rint(codes[start + j] - newton), levels.low, levels.high)
            moves[j] = np.where(curved, best - codes[start + j], 0.0)
            if moves[j].any():
                codes[start + j] += moves[j]
                moves[j] *= levels.step
                local += inner[j] * moves[j]
        if moves.any():
            changed = True
            slope += _slope(moves, matrix[:, :, start:stop])
    return changed


def _slope(differences: Array, matrix: Array) -> Array:
    """Half the gradient of the error, [in, groups, rows]: A times the differences."""
    slope: Array = np.matmul(matrix, differences.transpose(1, 0, 2)).transpose(1, 0, 2)
    return slope


def row_error(differences: Array, curvature: Array) -> Array:
    """``d A d^T`` of each row, [groups, rows], from differences [groups, rows, in]."""
    error: Array = np.einsum("gri,gri->gr", differences @ curvature, differences)
    return error


def _better(codes: Array, others: Array, columns: Array, matrix: Array, levels: Levels) -> Array:
    """Row by row the codes of less error; the others where both are equal."""

    def error(candidate: Array) -> Array:
        difference = candidate * levels.step - columns
        return np.asarray(np.einsum("igr,igr->gr", _slope(difference, matrix), difference))

    return np.where(error(codes) < error(others), codes, others)

"""The factor of a curvature [groups, in, in], held whole."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from mpq_plugins.errors import MPQError
from mpq_plugins.rounding.factor import Factor, Single, check_finite, unit_of
from mpq_plugins.rounding.moments.layer_moments import Array

_RIDGES = (1e-10, 1e-6, 1e-2, 1.0)  # of the mean diagonal: a singular curvature, or a float32 one, has no factor


@dataclass(frozen=True, eq=False)
class Factored(Factor):
    """matrix: [groups, in, in]. upper: U, float32 [groups, in, in]."""

    matrix: Array
    upper: Single

    @classmethod
    def of(cls, matrix: Array) -> Factored:
        """Factors a matrix [groups, in, in], symmetric positive semidefinite but for rounding.

        The ridge is as small a one of _RIDGES as will do, or the trace, with which every matrix factors whose
        elements are no larger than their diagonals allow. Raises MPQError for any other.
        """
        order, ridge, lower = _lower_factor(matrix)
        return cls._of_lower(matrix, order, ridge, lower)

    @classmethod
    def solving(cls, matrix: Array, rows: Array) -> tuple[Array, Factored]:
        """X with X A = rows, [groups, rows, in], the ridge counted in, and the factored matrix A; as ``of``."""
        order, ridge, lower = _lower_factor(matrix)
        backward = order[:, ::-1]
        right = np.take_along_axis(rows, backward[:, None, :], 2).transpose(0, 2, 1)
        if len(rows) == 1:
            solved = scipy.linalg.cho_solve((lower[0], True), right[0], check_finite=False)[None]
        else:
            solved = np.linalg.solve(lower.transpose(0, 2, 1), np.linalg.solve(lower, right))
        back = np.argsort(backward, axis=1)
        found = np.take_along_axis(solved.transpose(0, 2, 1), back[:, None, :], 2)
        return np.asarray(found), cls._of_lower(matrix, order, ridge, lower)

    @classmethod
    def _of_lower(cls, matrix: Array, order: NDArray[np.intp], ridge: Array, lower: Array) -> Factored:
        """From the factor of the matrix in reverse order, which is used up."""
        roots = np.einsum("gii->gi", lower).copy()
        unit = unit_of(np.einsum("gii->gi", matrix), ridge)
        lower /= roots[:, None, :]
        upper = np.ascontiguousarray(lower[:, ::-1, ::-1], dtype=np.float32)
        weights = ((roots**2)[:, ::-1] / unit[:, None]).T.astype(np.float32)
        return cls(order, np.ascontiguousarray(weights), unit, ridge, matrix, upper)

    @property
    def variances(self) -> Array:
        diagonal = np.einsum("gii->gi", self.matrix)
        return np.asarray(np.take_along_axis(diagonal, self.order, 1) / self.unit[:, None])

    def inner(self, start: int, stop: int) -> Single:
        return self.upper[:, start:stop, start:stop]

    def walk(self) -> _Walk:
        return _Walk(self.upper)

    def slopes(self, differences: Single) -> _Slopes:
        return _Slopes(self, differences)

    def products(self, differences: Array) -> Array:
        return np.asarray(differences @ self.matrix @ differences.transpose(0, 2, 1))

    def row_errors(self, group: int, differences: Array) -> Array:
        return np.asarray(np.einsum("ri,ri->r", differences @ self.matrix[group], differences))

    def rows(self, start: int, stop: int) -> Single:
        """Rows of the ordered curvature, in its unit: [groups, stop - start, in]."""
        found = np.empty((len(self.matrix), stop - start, self.order.shape[1]), np.float32)
        for own, matrix, order, unit in zip(found, self.matrix, self.order, self.unit, strict=True):
            chosen = (matrix[order[start:stop]] / unit).astype(np.float32)
            np.take(chosen, order, axis=1, out=own)
        return found


@dataclass
class _Walk:
    upper: Single

    def before(self, differences: Single, start: int, stop: int) -> Single:
        block = self.upper[:, :start, start:stop].transpose(0, 2, 1)
        past: Single = np.matmul(block, differences[:start].transpose(1, 0, 2)).transpose(1, 0, 2)
        return past


@dataclass
class _Slopes:
    factored: Factored
    differences: Single

    def at(self, start: int, stop: int) -> tuple[Single, Single]:
        rows = self.factored.rows(start, stop)
        slope = np.matmul(rows, self.differences.transpose(1, 0, 2)).transpose(1, 0, 2)
        return slope, rows[:, :, start:stop]

    def moved(self, start: int, stop: int, moves: Single) -> None:
        """Nothing: the next slope is taken of the differences as they are then."""


def _lower_factor(matrix: Array) -> tuple[NDArray[np.intp], Array, Array]:
    """The order of the inputs, the ridges [groups], and the Cholesky factors of the matrices in reverse order."""
    check_finite("curvature", matrix)
    diagonal = np.einsum("gii->gi", matrix)
    # The columns that matter most go first, while all the others can still make up for them.
    order = np.argsort(-diagonal, axis=1, kind="stable")
    mean = diagonal.mean(axis=1)
    for share in (*_RIDGES, float(matrix.shape[-1])):
        ridge = np.where(mean > 0, share * mean, 1.0)
        try:
            return order, ridge, _cholesky(matrix, order[:, ::-1], ridge)
        except np.linalg.LinAlgError:
            continue
    lowest = float(np.linalg.eigvalsh(matrix).min())
    raise MPQError(f"a curvature with eigenvalue {lowest:.3g} is no Gram matrix or covariance; none is negative")


def _cholesky(matrix: Array, order: NDArray[np.intp], ridge: Array) -> Array:
    """The factors of the matrices, their inputs in an order; a single one is factored in place."""
    size = matrix.shape[-1]
    if len(matrix) == 1:
        # symmetric, so the transpose is the same matrix in the order of memory that LAPACK wants
        chosen = matrix[0][np.ix_(order[0], order[0])].T
        chosen[np.diag_indices(size)] += ridge[0]
        return np.asarray(scipy.linalg.cholesky(chosen, lower=True, overwrite_a=True, check_finite=False))[None]
    chosen = np.take_along_axis(np.take_along_axis(matrix, order[:, :, None], 1), order[:, None, :], 2)
    np.einsum("gii->gi", chosen)[...] += ridge[:, None]
    return np.asarray(np.linalg.cholesky(chosen))

"""A curvature and its factor, computed once for all that is asked of a layer: its codes, their errors, its regression.

With A = U D U^T, U upper triangular with ones on its diagonal, the error d A d^T of differences d is sum_j D_j r_j^2,
r = U^T d: a sum of squares, which float32 holds well, and what compensated rounding computes on its way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from mpq_plugins.errors import MPQError, NonFiniteValues
from mpq_plugins.moments import Array
from mpq_plugins.sensitivity import predicted_loss

Single = NDArray[np.float32]
BLOCK = 128
"""Inputs between two large matrix products."""
_DOUBLE = 2**25
"""Products of a layer's loss up to which float64 costs nothing worth saving."""
_RIDGES = (1e-10, 1e-6, 1e-2, 1.0)  # of the mean diagonal: a singular curvature, or a float32 one, has no factor


@dataclass(frozen=True, eq=False)
class Factored:
    """matrix: [groups, in, in]. order: [groups, in], inputs of most variance first; all below follows it.

    upper: U, float32 [groups, in, in]. weights: D / unit, float32 [in, groups]; unit: a power of two for each group.
    ridge: what was added to the diagonal, [groups].
    """

    matrix: Array
    order: NDArray[np.intp]
    upper: Single
    weights: Single
    unit: Array
    ridge: Array

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
        mean = np.einsum("gii->gi", matrix).mean(axis=1)
        unit = np.ldexp(1.0, np.frexp(np.maximum(mean, ridge))[1])
        lower /= roots[:, None, :]
        upper = np.ascontiguousarray(lower[:, ::-1, ::-1], dtype=np.float32)
        weights = ((roots**2)[:, ::-1] / unit[:, None]).T.astype(np.float32)
        return cls(matrix, order, upper, np.ascontiguousarray(weights), unit, ridge)

    def ordered(self, rows: NDArray[Any]) -> NDArray[Any]:
        """[groups, rows, in] as [in, groups, rows] in the order of the inputs: loops walk along the first axis."""
        return np.ascontiguousarray(np.take_along_axis(rows, self.order[:, None, :], 2).transpose(2, 0, 1))

    def restored(self, columns: NDArray[Any]) -> NDArray[Any]:
        """What ``ordered`` makes, back as it was."""
        back = np.argsort(self.order, axis=1)
        return np.asarray(np.take_along_axis(columns.transpose(1, 2, 0), back[:, None, :], 2))

    def compensated(self, differences: Single) -> Single:
        """r = U^T d of differences [in, groups, rows], of which the error is ``unit * sum(weights * r**2)``."""
        r = np.empty_like(differences)
        by_group = differences.transpose(1, 0, 2)
        for start in range(0, len(r), BLOCK):
            stop = min(start + BLOCK, len(r))
            block = self.upper[:, :stop, start:stop].transpose(0, 2, 1)
            r[start:stop] = np.matmul(block, by_group[:, :stop]).transpose(1, 0, 2)
        return r

    def errors(self, differences: Single) -> Array:
        """``d A d^T`` [groups, rows] of ordered differences, the ridge counted in."""
        r = self.compensated(differences)
        return np.asarray(self.unit[:, None] * np.einsum("igr,igr,ig->gr", r, r, self.weights))

    def predicted_loss(self, change: Array, output_fisher: Array) -> float:
        """``1/2 tr(F dW A dW^T)`` as of sensitivity.predicted_loss; change dW: [groups, rows, in]."""
        groups, rows, size = change.shape
        if change.size * size <= _DOUBLE:
            flat = change.reshape(-1, size)
            return predicted_loss(flat, np.zeros_like(flat), self.matrix, output_fisher)
        largest = float(np.abs(change).max(initial=0.0))
        if not largest:
            return 0.0
        scale = float(np.ldexp(1.0, -int(np.frexp(largest)[1])))
        r = self.compensated(self.ordered(change * scale).astype(np.float32))
        r *= np.sqrt(self.weights)[:, :, None]
        by_group = r.transpose(1, 2, 0)
        products = np.matmul(by_group, by_group.transpose(0, 2, 1)).astype(np.float64)
        blocks = output_fisher.reshape(groups, rows, groups, rows)
        fisher = np.stack([blocks[g, :, g] for g in range(groups)])
        return 0.5 * float(np.sum(self.unit * np.einsum("grs,grs->g", fisher, products))) / scale**2


def check_finite(name: str, array: Array) -> None:
    """Raise NonFiniteValues where the array that is called by this name holds NaN or infinity."""
    if not np.all(np.isfinite(array)):
        raise NonFiniteValues(f"the {name} holds NaN or infinity; rounding takes finite values")


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

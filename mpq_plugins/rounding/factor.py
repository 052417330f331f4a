"""A curvature and its factor, computed once for all that is asked of a layer: its codes, their errors, its losses.

With A = U D U^T, U upper triangular with ones on its diagonal, the error d A d^T of differences d is sum_j D_j r_j^2,
r = U^T d: a sum of squares, which float32 holds well, and what compensated rounding computes on its way. Two forms
hold U: factored.Factored all of it, thin.Thin, where positions are few, as products of two narrow matrices.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.errors import NonFiniteValues
from mpq_plugins.rounding.moments.layer_moments import Array

Single = NDArray[np.float32]
BLOCK = 128
"""Inputs between two large matrix products."""


class Walk(Protocol):
    """A way through the inputs, block after block."""

    def before(self, differences: Single, start: int, stop: int) -> Single:
        """``sum_{i < start} d_i U_ij`` for j in start .. stop - 1, [stop - start, groups, rows].

        differences: d, [in, groups, rows], of which all up to ``start`` are known. start: where the last block stopped.
        """


class Slopes(Protocol):
    """The slope A d of the error, block after block, while d changes."""

    def at(self, start: int, stop: int) -> tuple[Single, Single]:
        """Rows start .. stop - 1 of A d, [stop - start, groups, rows], and the block of A between these inputs."""

    def moved(self, start: int, stop: int, moves: Single) -> None:
        """These rows of d have been moved by so much."""


@dataclass(frozen=True, eq=False)
class Factor(ABC):
    """order: [groups, in], inputs of most variance first; all below follows it.

    weights: D / unit, float32 [in, groups]; unit: a power of two for each group. ridge: what was added to the diagonal
    to factor it, [groups].
    """

    order: NDArray[np.intp]
    weights: Single
    unit: Array
    ridge: Array

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of the curvature: groups, in, in."""
        groups, size = self.order.shape
        return groups, size, size

    @property
    @abstractmethod
    def variances(self) -> Array:
        """The diagonal of the curvature in its unit, ordered, [groups, in]."""

    @abstractmethod
    def inner(self, start: int, stop: int) -> Single:
        """The block of U between these inputs, [groups, stop - start, stop - start]."""

    @abstractmethod
    def walk(self) -> Walk:
        """From the first input to the last."""

    @abstractmethod
    def slopes(self, differences: Single) -> Slopes:
        """Of differences [in, groups, rows] that change where they lie."""

    @abstractmethod
    def products(self, differences: Array) -> Array:
        """``d A d^T`` of all pairs of rows of a group, [groups, rows, rows] from [groups, rows, in]."""

    @abstractmethod
    def row_errors(self, group: int, differences: Array) -> Array:
        """``d A d^T`` of rows [rows, in] of a group, in float64, inputs in their own order."""

    def errors_of_rows(self, differences: Array) -> Array:
        """The same of rows of all groups, [groups, rows] from [groups, rows, in]."""
        return np.stack([self.row_errors(group, rows) for group, rows in enumerate(differences)])

    def predicted_loss(self, change: Array, output_fisher: Array) -> float:
        """``1/2 tr(F dW A dW^T)`` as of sensitivity.predicted_loss, in float64; change dW: [groups, rows, in]."""
        groups, rows, _ = change.shape
        blocks = np.einsum("grgs->grs", output_fisher.reshape(groups, rows, groups, rows))
        return 0.5 * float(np.sum(blocks * self.products(change)))

    def ordered(self, rows: NDArray[Any]) -> NDArray[Any]:
        """[groups, rows, in] as [in, groups, rows] in the order of the inputs: loops walk along the first axis."""
        if len(self.order) == 1:  # whole rows of the transpose are moved, which is twice as fast
            return np.asarray(np.take(np.ascontiguousarray(rows[0].T), self.order[0], axis=0)[:, None])
        return np.ascontiguousarray(np.take_along_axis(rows, self.order[:, None, :], 2).transpose(2, 0, 1))

    def restored(self, columns: NDArray[Any]) -> NDArray[Any]:
        """What ``ordered`` makes, back as it was."""
        back = np.argsort(self.order, axis=1)
        if len(self.order) == 1:
            return np.ascontiguousarray(np.take(columns[:, 0], back[0], axis=0).T)[None]
        return np.asarray(np.take_along_axis(columns.transpose(1, 2, 0), back[:, None, :], 2))

    def compensated(self, differences: Single) -> Single:
        """r = U^T d of differences [in, groups, rows], of which the error is ``unit * sum(weights * r**2)``."""
        r, walk = np.empty_like(differences), self.walk()
        for start in range(0, len(r), BLOCK):
            stop = min(start + BLOCK, len(r))
            inner = self.inner(start, stop).transpose(0, 2, 1)
            np.matmul(inner, differences[start:stop].transpose(1, 0, 2), out=r[start:stop].transpose(1, 0, 2))
            if start:
                r[start:stop] += walk.before(differences, start, stop)
        return r

    def errors(self, differences: Single) -> Array:
        """``d A d^T`` [groups, rows] of ordered differences, the ridge counted in."""
        return self.squared(self.compensated(differences))

    def squared(self, r: Single) -> Array:
        """``unit * sum(weights * r**2)`` of r [in, groups, rows], float64 [groups, rows]."""
        total = np.zeros(r.shape[1:])
        for start in range(0, len(r), BLOCK):
            part = r[start : start + BLOCK]
            total += np.einsum("igr,igr,ig->gr", part, part, self.weights[start : start + BLOCK])
        return np.asarray(self.unit[:, None] * total)


def unit_of(diagonal: Array, ridge: Array) -> Array:
    """A power of four about the mean of each group's diagonal [groups, in]; its root is exact too."""
    exponent = np.frexp(np.maximum(diagonal.mean(axis=1), ridge))[1]
    return np.asarray(np.ldexp(1.0, 2 * (exponent // 2)))


def check_finite(name: str, array: NDArray[Any]) -> None:
    """Raise NonFiniteValues where the array that is called by this name holds NaN or infinity."""
    if not np.all(np.isfinite(array)):
        raise NonFiniteValues(f"the {name} holds NaN or infinity; rounding takes finite values")

"""The factor of a curvature that comes of few positions: what it takes are two matrices as narrow as these are few.

With A = L + X X^T, L a diagonal and X [in, positions], the part of U above the block of its diagonal is
``U_ij = x_i . v_j``, v_j = M_j x_j / D_j, M_j = (I + sum_{i > j} x_i x_i^T / L_i)^{-1}. So the sums over all inputs
before a block, in feedback, errors and descent, are those of one state [positions, rows]. The codes are those of
the matrix held whole, but for ties of rounding.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.linalg

from mpq_plugins.rounding.factor import BLOCK, Factor, Single, check_finite, unit_of
from mpq_plugins.rounding.moments.layer_moments import Array, FewColumns

FEW = 4
"""Positions are few where so many times as many are fewer than the inputs: then neither memory nor time is lost."""


def few(positions: int, inputs: int) -> bool:
    """Whether the thin form is to be taken."""
    return FEW * positions < inputs


@dataclass(frozen=True, eq=False)
class Thin(Factor):
    """own: L, [groups, in], columns: X, [groups, in, positions], both float64, inputs in their own order.

    ordered_columns: X ordered and in the root of the unit, float32. directions: v, likewise. inners: the blocks of U.
    """

    own: Array
    columns: Array
    ordered_columns: Single
    directions: Single
    inners: tuple[Single, ...]

    @classmethod
    def of(cls, curvature: FewColumns) -> Thin:
        """L, the curvature's own diagonal, is above zero. Raises NonFiniteValues."""
        columns, own = curvature.columns, curvature.own
        check_finite("curvature", columns)
        diagonal = own + np.einsum("gip,gip->gi", columns, columns)
        order = np.argsort(-diagonal, axis=1, kind="stable")
        unit, (groups, size, positions) = unit_of(diagonal, own.max(axis=1)), columns.shape
        x = np.take_along_axis(columns, order[:, :, None], 1) / np.sqrt(unit)[:, None, None]
        rest = np.take_along_axis(own, order, 1) / unit[:, None]
        directions, weights = np.empty(x.shape, np.float32), np.empty((size, groups), np.float32)
        inners: list[Single] = []
        seen = np.broadcast_to(np.eye(positions), (groups, positions, positions)).copy()
        for start in reversed(range(0, size, BLOCK)):
            part = slice(start, min(start + BLOCK, size))
            near = x[:, part] @ seen
            block = near @ x[:, part].transpose(0, 2, 1)
            np.einsum("gii->gi", block)[...] += rest[:, part]
            root = np.linalg.cholesky(block[:, ::-1, ::-1])[:, ::-1, ::-1]  # upper: block = root root^T
            scale = np.einsum("gii->gi", root).copy()
            solved = _solved(root, near)
            directions[:, part] = solved / scale[:, :, None]
            weights[part] = (scale**2).T
            inners.append((root / scale[:, None, :]).astype(np.float32))
            if start:
                seen -= solved.transpose(0, 2, 1) @ solved
        nothing = np.zeros(groups)
        return cls(
            order, weights, unit, nothing, own, columns, x.astype(np.float32), directions, tuple(reversed(inners))
        )

    @property
    def variances(self) -> Array:
        diagonal = self.own + np.einsum("gip,gip->gi", self.columns, self.columns)
        return np.asarray(np.take_along_axis(diagonal, self.order, 1) / self.unit[:, None])

    def inner(self, start: int, stop: int) -> Single:
        return self.inners[start // BLOCK]

    def own_part(self, start: int, stop: int) -> Single:
        """L of these inputs, ordered and in the unit, [groups, stop - start]."""
        found = np.take_along_axis(self.own, self.order[:, start:stop], 1) / self.unit[:, None]
        return np.asarray(found, dtype=np.float32)

    def walk(self) -> _Walk:
        return _Walk(self)

    def slopes(self, differences: Single) -> _Slopes:
        return _Slopes(self, differences)

    def products(self, differences: Array) -> Array:
        outer, own = differences @ self.columns, differences * self.own[:, None, :]
        return np.asarray(own @ differences.transpose(0, 2, 1) + outer @ outer.transpose(0, 2, 1))

    def row_errors(self, group: int, differences: Array) -> Array:
        outer = differences @ self.columns[group]
        return np.asarray(differences**2 @ self.own[group] + np.einsum("rp,rp->r", outer, outer))


class _Walk:
    """state: ``sum_{i < done} x_i d_i``, [groups, positions, rows]."""

    def __init__(self, thin: Thin) -> None:
        self.thin, self.done = thin, 0
        self.state: Single | None = None

    def before(self, differences: Single, start: int, stop: int) -> Single:
        x = self.thin.ordered_columns[:, self.done : start].transpose(0, 2, 1)
        new = np.matmul(x, differences[self.done : start].transpose(1, 0, 2))
        if self.state is None:
            self.state = new
        else:
            self.state += new
        self.done = start
        past: Single = np.matmul(self.thin.directions[:, start:stop], self.state).transpose(1, 0, 2)
        return past


class _Slopes:
    """state: ``sum_i x_i d_i``, [groups, positions, rows]."""

    def __init__(self, thin: Thin, differences: Single) -> None:
        self.thin, self.differences = thin, differences
        self.state = np.matmul(thin.ordered_columns.transpose(0, 2, 1), differences.transpose(1, 0, 2))

    def at(self, start: int, stop: int) -> tuple[Single, Single]:
        x, own = self.thin.ordered_columns[:, start:stop], self.thin.own_part(start, stop)
        slope = np.matmul(x, self.state).transpose(1, 0, 2)
        slope += own.T[:, :, None] * self.differences[start:stop]
        block = np.matmul(x, x.transpose(0, 2, 1))
        np.einsum("gii->gi", block)[...] += own
        return slope, block

    def moved(self, start: int, stop: int, moves: Single) -> None:
        x = self.thin.ordered_columns[:, start:stop].transpose(0, 2, 1)
        self.state += np.matmul(x, moves.transpose(1, 0, 2))


def _solved(root: Array, right: Array) -> Array:
    """``root^{-1} right`` of upper triangular roots, group by group."""
    return np.stack([
        scipy.linalg.solve_triangular(own, rows, check_finite=False) for own, rows in zip(root, right, strict=True)
    ])  # fmt: skip

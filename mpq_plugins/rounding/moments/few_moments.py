"""What LayerMoments is, from so few positions that no matrix of all inputs is worth its memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.errors import NonFiniteValues
from mpq_plugins.rounding.moments.layer_moments import DAMPING, Array, FewColumns, by_group
from mpq_plugins.rounding.row_parts import row_parts
from mpq_plugins.rounding.thin import Thin


@dataclass(frozen=True)
class FewMoments:
    """columns: of the input, less their mean, over the root of their number, [groups, in, positions]; wished: likewise
    of the outputs that the layer should give, [out, positions]. input_mean: [groups, in]; output_mean: [out].
    """

    columns: Array
    input_mean: Array
    wished: Array
    output_mean: Array

    @classmethod
    def of_codes(cls, codes: Array, step: float, wished: Array) -> FewMoments:
        """codes: [groups, in, positions], to be multiplied by step; wished: [out, positions].

        Both are used up. Raises NonFiniteValues.
        """
        positions = codes.shape[2]
        means = codes.sum(axis=2) / positions, wished.sum(axis=1) / positions
        codes -= means[0][:, :, None]
        codes *= step / np.sqrt(positions)
        wished -= means[1][:, None]
        wished /= np.sqrt(positions)
        for name, array in (("columns", codes), ("wished outputs", wished)):
            if not np.all(np.isfinite(array)):
                raise NonFiniteValues(f"{name} hold NaN or infinity: look for them in the calibration data")
        return cls(codes, means[0] * step, wished, means[1])

    @property
    def groups(self) -> int:
        """Number of groups; each reads inputs of its own."""
        return len(self.columns)

    def regressed(self, weight: NDArray[Any], damping: float = DAMPING) -> tuple[Moved, Thin]:
        """X and the factored A of LayerMoments.regression.

        X = W + (Y - W C) (C^T C + ridge)^{-1} C^T, C the columns and Y the wished outputs: no matrix of all inputs.
        """
        rows, columns = by_group(weight, self.groups), self.columns
        curvature = FewColumns(columns, np.zeros(columns.shape[:2])).damped(damping)
        missing = by_group(self.wished, self.groups) - _products(rows, columns)
        between = columns.transpose(0, 2, 1) @ columns
        np.einsum("gpp->gp", between)[...] += curvature.own[:, :1]
        solved = np.linalg.solve(between, missing.transpose(0, 2, 1)).transpose(0, 2, 1)
        return Moved(rows, solved, columns), Thin.of(curvature)


@dataclass(frozen=True, eq=False)
class Moved:
    """``weight + by columns^T``, [groups, rows, in], made where rows of it are asked for: a search.Rows."""

    weight: NDArray[Any]
    by: Array
    columns: Array

    @property
    def shape(self) -> tuple[int, int, int]:
        """groups, rows, in."""
        groups, rows, size = self.weight.shape
        return groups, rows, size

    def rows(self, part: slice) -> Array:
        """Some rows of every group."""
        moves = self.by[:, part] @ self.columns.transpose(0, 2, 1)
        return np.asarray(np.add(self.weight[:, part], moves, out=moves))


def _products(rows: NDArray[Any], columns: Array) -> Array:
    """``rows @ columns`` of every group, rows widened part by part."""
    parts = [rows[:, part].astype(np.float64) @ columns for part in row_parts(rows.shape)]
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=1)

"""What LayerMoments is, from so few positions that no matrix of all inputs is worth its memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mpq_plugins.errors import NonFiniteValues
from mpq_plugins.rounding.moments.layer_moments import DAMPING, Array, FewColumns, by_group
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

    def regressed(self, weight: Array, damping: float = DAMPING) -> tuple[Array, Thin]:
        """X [groups, rows, in] and the factored A of LayerMoments.regression.

        X = W + (Y - W C) (C^T C + ridge)^{-1} C^T, C the columns and Y the wished outputs: no matrix of all inputs.
        """
        rows, columns = by_group(np.asarray(weight, dtype=np.float64), self.groups), self.columns
        curvature = FewColumns(columns, np.zeros(columns.shape[:2])).damped(damping)
        missing = by_group(self.wished, self.groups) - rows @ columns
        between = columns.transpose(0, 2, 1) @ columns
        np.einsum("gpp->gp", between)[...] += curvature.own[:, :1]
        solved = np.linalg.solve(between, missing.transpose(0, 2, 1)).transpose(0, 2, 1)
        return rows + solved @ columns.transpose(0, 2, 1), Thin.of(curvature)

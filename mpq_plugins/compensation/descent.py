"""Coordinate descent over codes: every code in turn goes to its best value, the others fixed."""

from __future__ import annotations

import numpy as np

from mpq_plugins.compensation.factored import BLOCK, Factored, Single

_SMALL = 16
_CAUTION = 1 - 2.0**-12
"""A code moves where that clearly lowers the error, by more than float32 leaves in doubt."""


def descend(codes: Single, columns: Single, factored: Factored, low: Single, high: Single) -> bool:
    """One sweep, in place; whether any code changed. Arguments as of feedback.

    Each move is the minimum along its coordinate; one without curvature (an input that is always zero) stays.
    """
    size, changed = len(columns), False
    differences = codes - columns
    diagonal = np.einsum("gii->gi", factored.matrix)
    variances = np.take_along_axis(diagonal, factored.order, 1) / factored.unit[:, None]
    inverse = np.divide(_CAUTION, variances, out=np.zeros_like(variances), where=variances > 0)
    newton = inverse.T.astype(np.float32)[:, :, None]
    for start in range(0, size, BLOCK):
        stop = min(start + BLOCK, size)
        matrix = _rows(factored, start, stop)
        slope = np.matmul(matrix, differences.transpose(1, 0, 2)).transpose(1, 0, 2)
        for first in range(start, stop, _SMALL):
            last = min(first + _SMALL, stop)
            near = slope[first - start : last - start]
            inner = np.ascontiguousarray(matrix[:, first - start : last - start, first:last].transpose(1, 2, 0))[
                :, :, :, None
            ]
            moves = np.empty_like(near)
            for j in range(last - first):
                code, move = codes[first + j], moves[j]
                np.multiply(near[j], newton[first + j], out=move)
                np.subtract(code, move, out=move)
                np.rint(move, out=move)
                np.maximum(move, low, out=move)
                np.minimum(move, high, out=move)
                move -= code
                if move.any():
                    code += move
                    near[j + 1 :] += inner[j, j + 1 :] * move
            if moves.any():
                changed = True
                differences[first:last] += moves
                if last < stop:
                    across = matrix[:, last - start :, first:last]
                    slope[last - start :] += np.matmul(across, moves.transpose(1, 0, 2)).transpose(1, 0, 2)
    return changed


def _rows(factored: Factored, start: int, stop: int) -> Single:
    """Rows of the ordered curvature, in its unit: [groups, stop - start, in]."""
    order = factored.order
    chosen = np.take_along_axis(factored.matrix, order[:, start:stop, None], 1)
    ordered = np.take_along_axis(chosen, order[:, None, :], 2)
    return np.asarray(ordered / factored.unit[:, None, None], dtype=np.float32)

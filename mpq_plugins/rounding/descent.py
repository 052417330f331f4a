"""Coordinate descent over codes: every code in turn goes to its best value, the others fixed."""

from __future__ import annotations

import numpy as np

from mpq_plugins.rounding.factor import BLOCK, Factor, Single

_SMALL = 16
_CAUTION = 1 - 2.0**-12
"""A code moves where that clearly lowers the error, by more than float32 leaves in doubt."""


def descend(codes: Single, columns: Single, factor: Factor, low: Single, high: Single) -> bool:
    """One sweep, in place; whether any code changed. Arguments as of feedback.

    Each move is the minimum along its coordinate; one without curvature (an input that is always zero) stays.
    """
    size, changed = len(columns), False
    differences = codes - columns
    variances, slopes = factor.variances, factor.slopes(differences)
    inverse = np.divide(_CAUTION, variances, out=np.zeros_like(variances), where=variances > 0)
    newton = inverse.T.astype(np.float32)[:, :, None]
    for start in range(0, size, BLOCK):
        stop = min(start + BLOCK, size)
        slope, matrix = slopes.at(start, stop)
        before = differences[start:stop].copy()
        for first in range(start, stop, _SMALL):
            last = min(first + _SMALL, stop)
            near = slope[first - start : last - start]
            own = slice(first - start, last - start)
            inner = np.ascontiguousarray(matrix[:, own, own].transpose(1, 2, 0))[:, :, :, None]
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
                    across = matrix[:, last - start :, own]
                    slope[last - start :] += np.matmul(across, moves.transpose(1, 0, 2)).transpose(1, 0, 2)
        slopes.moved(start, stop, differences[start:stop] - before)
    return changed

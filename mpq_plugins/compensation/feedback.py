"""Codes column after column, each first moved by what makes up for the errors made so far.

Rows are in units of their steps, in float32: a weight lies within a few hundred steps, of which float32 knows
2**-15, and the moves need no more. What is left of float64's sums is the guard's (search.py).
"""

from __future__ import annotations

import numpy as np

from mpq_plugins.compensation.factored import BLOCK, Factored, Single
from mpq_plugins.moments import Array

_SMALL = 16
"""Inputs whose moves are made one by one, in the cache."""


def feedback(columns: Single, factored: Factored, low: Single, high: Single) -> tuple[Single, Array]:
    """Codes [in, groups, rows] of columns likewise, ordered, in steps; and their errors [groups, rows], in steps**2.

    low, high: [groups, rows]. The ridge of the factor counts in the errors.
    """
    size, upper = len(columns), factored.upper
    codes, errors = np.empty_like(columns), np.empty_like(columns)
    total = np.zeros(columns.shape[1:], np.float32)
    rest = np.empty_like(total)
    for start in range(0, size, BLOCK):
        stop = min(start + BLOCK, size)
        moved = columns[start:stop].copy()
        if start:
            past = np.matmul(upper[:, :start, start:stop].transpose(0, 2, 1), errors[:start].transpose(1, 0, 2))
            moved -= past.transpose(1, 0, 2)
        for first in range(start, stop, _SMALL):
            last = min(first + _SMALL, stop)
            near = moved[first - start : last - start]
            if first > start:
                past = np.matmul(
                    upper[:, start:first, first:last].transpose(0, 2, 1), errors[start:first].transpose(1, 0, 2)
                )
                near -= past.transpose(1, 0, 2)
            inner = np.ascontiguousarray(upper[:, first:last, first:last].transpose(1, 2, 0))[:, :, :, None]
            for j in range(last - first):
                code, error = codes[first + j], errors[first + j]
                np.rint(near[j], out=code)
                np.maximum(code, low, out=code)
                np.minimum(code, high, out=code)
                np.subtract(code, near[j], out=rest)
                np.subtract(code, columns[first + j], out=error)
                rest *= rest
                rest *= factored.weights[first + j, :, None]
                total += rest
                if j + 1 < last - first:
                    near[j + 1 :] -= inner[j, j + 1 :] * error
    return codes, np.asarray(factored.unit[:, None] * total, dtype=np.float64)

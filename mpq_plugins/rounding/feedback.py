"""Codes column after column, each first moved by what makes up for the errors made so far.

Rows are in units of their steps, in float32: a weight lies within a few hundred steps, of which float32 knows
2**-15, and the moves need no more. What is left of float64's sums is the guard's (search.py).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from mpq_plugins.rounding.factor import BLOCK, Factor, Single
from mpq_plugins.rounding.moments.layer_moments import Array

_SMALL = 16
"""Inputs whose moves are made one by one, in the cache."""


class Found(NamedTuple):
    """codes: [in, groups, rows]. left: r = U^T (codes - columns), of which the errors are the weighted squares."""

    codes: Single
    left: Single


def feedback(columns: Single, factor: Factor, low: Single, high: Single) -> Found:
    """Codes of columns [in, groups, rows], ordered, in steps; low, high: [groups, rows]."""
    size, walk = len(columns), factor.walk()
    codes, errors, left = (np.empty_like(columns) for _ in range(3))
    for start in range(0, size, BLOCK):
        stop = min(start + BLOCK, size)
        moved, upper = columns[start:stop].copy(), factor.inner(start, stop)
        if start:
            moved -= walk.before(errors, start, stop)
        for first in range(start, stop, _SMALL):
            last = min(first + _SMALL, stop)
            near, own = moved[first - start : last - start], slice(first - start, last - start)
            if first > start:
                past = upper[:, : first - start, own].transpose(0, 2, 1)
                near -= np.matmul(past, errors[start:first].transpose(1, 0, 2)).transpose(1, 0, 2)
            inner = np.ascontiguousarray(upper[:, own, own].transpose(1, 2, 0))[:, :, :, None]
            for j in range(last - first):
                code, error = codes[first + j], errors[first + j]
                np.rint(near[j], out=code)
                np.maximum(code, low, out=code)
                np.minimum(code, high, out=code)
                np.subtract(code, near[j], out=left[first + j])
                np.subtract(code, columns[first + j], out=error)
                if j + 1 < last - first:
                    near[j + 1 :] -= inner[j, j + 1 :] * error
    return Found(codes, left)


def feedback_error(found: Found, factor: Factor) -> Array:
    """The errors [groups, rows] of what feedback found, in steps**2; the ridge of the factor counts."""
    return factor.squared(found.left)

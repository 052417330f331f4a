"""The products of gradients that Fisher matrices are summed from."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
_SUMMED = 2**12
"""Squares of gradients that are summed in their own precision, before float64 sums these."""


def products(by_output: NDArray[Any], groups: int, weight: float) -> NDArray[Any]:
    """Weighted products of outputs [out, positions] within each group: [out, out], or [groups, own, own].

    Those between groups are never asked for.
    """
    if groups == 1:
        found = by_output @ by_output.T
        return np.asarray(found if weight == 1 else weight * found)
    by_group = by_output.reshape(groups, -1, by_output.shape[1])
    one = by_group.shape[1] == 1
    own = squares(by_output)[:, None, None] if one else by_group @ by_group.transpose(0, 2, 1)
    return np.asarray(weight * own)


def add_products(total: Array, found: NDArray[Any]) -> None:
    """Add what ``products`` gave to a matrix [out, out]."""
    if found.ndim == 2:
        total += found
        return
    groups, count, _ = found.shape
    blocks = np.einsum("gigj->gij", total.reshape(groups, count, groups, count))  # a view
    blocks += found


def energy(gradient: NDArray[Any]) -> float:
    """The sum of squares."""
    return float(squares(gradient.reshape(1, -1))[0])


def squares(rows: NDArray[Any]) -> Array:
    """The sum of squares of each row [rows, n]."""
    count, size = rows.shape
    whole = size // _SUMMED * _SUMMED
    parts = rows[:, :whole].reshape(count, -1, _SUMMED)
    sums = np.einsum("rpn,rpn->rp", parts, parts).sum(axis=1, dtype=np.float64)
    return np.asarray(sums + np.einsum("rn,rn->r", rows[:, whole:], rows[:, whole:]))

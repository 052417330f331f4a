"""A softmax of codes in integers of 32 bits: the same numbers in every runtime that adds, multiplies and divides them.

With c the codes along the axis, T[max - c] the exponentials of their scaled distance from the largest, on a step of
2^-k, and Z the sum of T, the output is T / Z on its own step: a table, a sum and one quotient, rounded half up. What a
mask hides is lowered to a code so far below all others that its T is zero.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mpq_plugins.errors import GridError
from mpq_plugins.graph.runner import Runner
from mpq_plugins.grid import Grid

BITS, FEWEST = 31, 8
HIDES = -1e4
"""What a mask adds to hide an element, or less: no exponential is left of it."""


@dataclass(frozen=True, eq=False)
class IntegerSoftmax:
    """The constants of one softmax. table: of exponentials, by the distance from the largest code. steps: of the
    output in one. bounds: the largest code that each position may have, over the last axes; None for no mask."""

    steps: int
    table: NDArray[np.int64]
    bounds: NDArray[np.int64] | None = None


def hidden_by(mask: ArrayLike, axis: int) -> NDArray[np.bool_] | None:
    """What a mask hides, which is added to numbers: whatever it is not zero for; None where that would stay in sight,
    or where all along an axis is hidden.

    >>> hidden_by([[0.0, -np.inf], [0.0, 0.0]], -1).tolist(), hidden_by([0.0, -1.0], -1)
    ([[False, True], [False, False]], None)
    """
    values = np.asarray(mask, np.float64)
    hidden = values != 0
    plain = np.all(values[hidden] <= HIDES) and not np.any(hidden.all(axis))
    return hidden if plain else None


def softmax_of(
    site: str, count: int, scale: float, source: Grid, grid: Grid, hidden: NDArray[np.bool_] | None = None
) -> IntegerSoftmax:
    """The constants for so many codes of one grid, whose values are scaled first, and an output on another.

    hidden: of the last axes, in full, where anything is.
    Raises GridError, naming the site, for an output whose step does not divide one, or too many codes for 32 bits.
    """
    steps = 1.0 / float(grid.steps[0])
    if steps != round(steps):
        raise GridError(f"site {site!r}: the step of a softmax must divide one, and {grid.steps[0]:g} does not")
    bits = BITS - 1 - math.ceil(math.log2(2 * steps + 2 * count))  # of 2 steps T + Z, and of 2 Z
    if bits < FEWEST:
        raise GridError(
            f"site {site!r}: a softmax of {count} elements on the step {grid.steps[0]:g} does not fit 32 bits; give it "
            "a larger threshold"
        )
    distances = np.arange(source.high - source.low + 1) * float(source.steps[0]) * scale
    table = np.floor(np.exp(-distances) * 2.0**bits + 0.5).astype(np.int64)
    if hidden is None:
        return IntegerSoftmax(round(steps), table)
    far = source.low - len(table)
    return IntegerSoftmax(
        round(steps), np.concatenate([table, np.zeros(len(table), np.int64)]), np.where(hidden, far, source.high)
    )


def softmaxed(run: Runner, codes: Any, axis: int, law: IntegerSoftmax) -> Any:
    """Codes of the softmax, not clipped yet. All numbers are whole, and exact in float64."""
    x = run.to_precision(codes, "float64")
    x = x if law.bounds is None else run.minimum(x, run.tensor(law.bounds, "float64"))
    powers = run.gather(run.tensor(law.table, "float64"), run.largest(x, axis) - x)
    total = run.sum_over(powers, (axis,), True)
    return run.floor((powers * float(2 * law.steps) + total) / (total * 2.0))

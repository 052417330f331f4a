"""A softmax of codes in integers of 32 bits: the same numbers in every runtime that adds, multiplies and divides them.

With c the codes along the axis, T[max - c] the exponentials of their scaled distance from the largest, on a step of
2^-k, and Z the sum of T, the output is T / Z on its own step: a table, a sum and one quotient, rounded half up.

A code that a mask hides lies so far below all others that its distance is one of the table's zeros at the end. Where
all of a row are hidden, they are all alike.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.errors import GridError
from mpq_plugins.graph.runner import Runner
from mpq_plugins.grid import Grid

BITS, FEWEST = 31, 8


@dataclass(frozen=True, eq=False)
class IntegerSoftmax:
    """The constants of one softmax.

    steps: of the output in one. table: of exponentials, by the distance from the largest code. hidden: where codes are
    hidden, as many axes as they have; None for nowhere. below: what stands there instead.
    """

    steps: int
    table: NDArray[np.int64]
    hidden: NDArray[np.bool_] | None = None
    below: int = 0


def softmax_of(
    site: str, count: int, scale: float, source: Grid, grid: Grid, hidden: NDArray[np.bool_] | None = None
) -> IntegerSoftmax:
    """The constants for so many codes of one grid, whose values are scaled first, and an output on another.

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
    span = source.high - source.low + 1
    table = np.floor(np.exp(-np.arange(span) * float(source.steps[0]) * scale) * 2.0**bits + 0.5).astype(np.int64)
    if hidden is None:
        return IntegerSoftmax(round(steps), table)
    zeros = np.zeros(span, np.int64)
    return IntegerSoftmax(round(steps), np.concatenate([table, zeros]), hidden, source.low - span)


def softmaxed(run: Runner, codes: Any, axis: int, law: IntegerSoftmax) -> Any:
    """Codes of the softmax, not clipped yet. All numbers are whole, and exact in float64."""
    x = run.to_precision(codes, "float64")
    if law.hidden is not None:
        x = x * run.tensor(1.0 - law.hidden, "float64") + run.tensor(law.below * 1.0 * law.hidden, "float64")
    powers = run.gather(run.tensor(law.table, "float64"), run.largest(x, axis) - x)
    total = run.sum_over(powers, (axis,), True)
    return run.floor((powers * float(2 * law.steps) + total) / (total * 2.0))

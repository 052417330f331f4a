"""A norm of codes in integers of 32 bits: the same numbers in every runtime that adds, multiplies and divides them.

With n codes c along the axes, d = round(2^f (c - mean)), and A the sum of the squares of c - mean and of epsilon, on a
step of 4^-g, the output is d sqrt(n / A), on its own step. 4^e is the largest power of four up to A; a table holds the
root of n / m for the 8 bits of m = A / 4^e below its first ones, so that all is sums, products, one lookup and
quotients, each rounded half up. What rounding the mean adds to the squares is taken off again.
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

INDEX_BITS = 8
"""The table begins at 1 = 2^8 and ends before 4."""
MOST_FRACTION, DEVIATION_BITS, PRODUCT_BITS, SUM_BITS, MOST_SHIFT = 7, 15, 30, 31, 15
POWERS = tuple(4**k for k in range(1, 16))
"""How many of them A reaches is e."""


@dataclass(frozen=True, eq=False)
class IntegerNorm:
    """The constants of one norm.

    count: n. centered: whether the mean is taken off. fraction: f. square_fraction: g. epsilon: in steps of 4^-g,
    times n.
    table: roots of n / m on the step of the output, scaled by 2^shift, for m from 1 up, in parts of 2^INDEX_BITS.
    """

    count: int
    centered: bool
    fraction: int
    square_fraction: int
    epsilon: int
    shift: int
    table: NDArray[np.int64]


def norm_of(site: str, count: int, centered: bool, epsilon: float, source: Grid, grid: Grid) -> IntegerNorm:
    """The constants for codes of one grid and an output on another. Raises GridError, naming the site, where sums or
    roots leave 32 bits."""
    largest = max(source.high, -source.low)
    reach = source.high - source.low if centered else largest
    squares = count * (reach / 2 if centered else reach) ** 2
    for square_fraction in range(MOST_FRACTION, -1, -1):
        extra = round(count * epsilon * 4.0**square_fraction / float(source.steps[0]) ** 2)
        # rounding the mean adds a quarter for each element at most, and is known from a number up to half of n
        if squares * 4**square_fraction + count / 4 + extra < 2**SUM_BITS and (count / 2 + 1) ** 2 < 2**SUM_BITS:
            break
    else:
        raise GridError(
            f"site {site!r}: the squares of {count} codes of step {source.steps[0]:g} do not fit 32 bits; give the "
            "input fewer bits or a larger threshold, or keep the norm in float"
        )
    fraction = max(
        f
        for f in range(MOST_FRACTION + 1)
        if reach << f < 2**DEVIATION_BITS and (largest << (f + 1)) * count + count < 2**SUM_BITS
    )
    scale = math.sqrt(count) * 2.0 ** (square_fraction - fraction) / float(grid.steps[0])
    bits = PRODUCT_BITS - ((reach << fraction) + 1).bit_length()
    shift = min(MOST_SHIFT, bits - math.ceil(math.log2(scale)))
    if shift < 0:
        raise GridError(
            f"site {site!r}: a norm of {count} elements on the step {grid.steps[0]:g} does not fit 32 bits; give it a "
            "larger threshold"
        )
    mantissas = (np.arange(1 << INDEX_BITS, 4 << INDEX_BITS) + 0.5) / (1 << INDEX_BITS)
    table = np.floor(scale * 2.0**shift / np.sqrt(mantissas) + 0.5).astype(np.int64)
    return IntegerNorm(count, centered, fraction, square_fraction, extra, shift, table)


def by_exponent(norm: IntegerNorm) -> NDArray[np.int64]:
    """For each e: the factor and the divisor that make an index of A, and half of the last divisor and itself."""
    rows = []
    for e in range(len(POWERS) + 1):
        up, down = max(INDEX_BITS // 2 - e, 0), max(e - INDEX_BITS // 2, 0)
        last = 1 << (norm.shift + e)
        rows.append((4**up, 4**down, last // 2, last))
    return np.asarray(rows, np.int64)


def normalized(run: Runner, codes: Any, axes: tuple[int, ...], norm: IntegerNorm) -> Any:
    """Codes of the norm, not clipped yet. All numbers are whole, and exact in float64."""
    x, count = run.to_precision(codes, "float64"), float(norm.count)
    deviation, finer = x * 2.0**norm.fraction, x * 2.0**norm.square_fraction
    square = run.sum_over(finer * finer, axes, True)
    if norm.centered:
        total = run.sum_over(x, axes, True)
        means = [
            run.floor((total * 2.0 ** (f + 1) + count) / (2.0 * count)) for f in (norm.fraction, norm.square_fraction)
        ]
        deviation, finer = deviation - means[0], finer - means[1]
        rest = total * 2.0**norm.square_fraction - means[1] * count
        added = run.floor((rest * rest + float(norm.count // 2)) / count)
        square = run.sum_over(finer * finer, axes, True) - added
    square = run.maximum(square + float(norm.epsilon), 1.0)
    exponent = square * 0.0
    for power in POWERS:
        exponent = exponent + run.cast(square >= float(power), square)
    rows = by_exponent(norm)
    up, down, half, last = (run.gather(run.tensor(rows[:, i], "float64"), exponent) for i in range(4))
    index = run.floor(square * up / down) - float(1 << INDEX_BITS)
    root = run.gather(run.tensor(norm.table, "float64"), index)
    return run.floor((deviation * root + half) / last)

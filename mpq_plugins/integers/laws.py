"""How runtimes compute, as integer stages: one table for each kind of word in a runtime's (graph.runtimes.runtime).

With steps that are powers of two every factor of a runtime is a shift, so these stages give what the functions of
``graph.arithmetic`` of the same words give.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mpq_plugins.graph.arithmetic import int8_zero_point, shifted_upward
from mpq_plugins.graph.runtimes.runtime import Accumulation, Average, Entry, Mean, Product, Sum
from mpq_plugins.grid import Grid
from mpq_plugins.hardware.op_support import Rounding
from mpq_plugins.integers.program import Entrance
from mpq_plugins.integers.stages import MOST_LEFT, MOST_RIGHT
from mpq_plugins.integers.steps import Divide, Multiply, Shift, Significant, Stage

FLOAT32_BITS = 24

Stages = tuple[Stage, ...]


def entrance(tensor: str, grid: Grid, entry: Entry, rounding: Rounding) -> Entrance:
    """How a float tensor becomes codes; by a quotient or a reciprocal is one for powers of two."""
    return Entrance(tensor, rounding, grid.low, grid.high, -grid.low if entry.zero_point else 0)


def rounded_once(shifts: Sequence[int], bound: int, rounding: Rounding) -> Stages:
    """An accumulator held as float32, shifted. shifts: to the right, one or by channel; bound: of its magnitude."""
    return (*_in_float32(bound), _shift(shifts, rounding))


def rounded_twice(shifts: Sequence[int], bound: int, rounding: Rounding, then: Rounding = "half_away") -> Stages:
    """As LiteRT's built-in kernels, whatever the target says: halved half up, then shifted by a rule of their own."""
    if len(set(shifts)) == 1 and shifts[0] <= 1:
        return (_shift(shifts, "half_up"),)
    return (
        _shift([min(s, 1) if s > 0 else 0 for s in shifts], "half_up"),
        _shift([s - 1 if s > 0 else s for s in shifts], then),
    )


def rounded_twice_in_vectors(shifts: Sequence[int], bound: int, rounding: Rounding) -> Stages:
    """As LiteRT's optimized kernels: halved half up, then shifted half up in the channels that fill vectors, half away
    from zero in the others. shifts: of every channel."""
    upward = shifted_upward("fixed_point_vectors", len(shifts))
    rest = [s - 1 if s > 0 else s for s in shifts]
    return (
        _shift([min(s, 1) if s > 0 else 0 for s in shifts], "half_up"),
        _shift([s if up else 0 for s, up in zip(rest, upward, strict=True)], "half_up"),
        _shift([0 if up else s for s, up in zip(rest, upward, strict=True)], "half_away"),
    )


ACCUMULATIONS: Mapping[Accumulation, Callable[[Sequence[int], int, Rounding], Stages]] = {
    "float32": rounded_once,
    "fixed_point": rounded_twice,
    "fixed_point_vectors": rounded_twice_in_vectors,
    "fixed_point_upward": lambda shifts, bound, rounding: rounded_twice(shifts, bound, rounding, "half_up"),
}
"""From the right shift of every channel, the bound of the accumulator's magnitude and the target's rounding."""

SUMS: Mapping[Sum, Callable[[int, int, Rounding], Stages]] = {
    "exact": lambda shift, bound, rounding: (_shift([shift], rounding),),
    "float32": lambda shift, bound, rounding: rounded_once([shift], bound, rounding),
    "shared_shift": lambda shift, bound, rounding: (_shift([shift], "half_up"),),
    "fixed_point": lambda shift, bound, rounding: (_shift([shift], "half_away"),),
}
"""From the shift of the sum on the finer of both steps, the bound of its magnitude and the target's rounding."""

PRODUCTS: Mapping[Product, Callable[[int, int, Rounding], Stages]] = {
    "exact": lambda shift, bound, rounding: (_shift([shift], rounding),),
    "float32": lambda shift, bound, rounding: rounded_once([shift], bound, rounding),
    "fixed_point": lambda shift, bound, rounding: rounded_twice([shift], bound, rounding),
}
"""From the shift of the product, the bound of its magnitude and the target's rounding."""


@dataclass(frozen=True)
class Averaging:
    """How a window is averaged.

    rounding: of the quotient; None for the op's own. stored: whether codes count as int8 stores them.
    """

    rounding: Rounding | None
    stored: bool = False

    def offset(self, grid: Grid) -> int:
        """What is added to every code before it is averaged."""
        return int8_zero_point(grid) if self.stored else 0


AVERAGES: Mapping[Average, Averaging] = {
    "exact": Averaging(None),
    "stored": Averaging("half_away", stored=True),
}


def exact_mean(count: int, largest: int, rounding: Rounding) -> Stages:
    """The stages that divide a sum exactly; a shift where the count is a power of two."""
    if count & (count - 1) == 0:
        return (Shift((count.bit_length() - 1,), rounding),)
    return (Divide(count, rounding),)


def float32_reciprocal_mean(count: int, largest: int, rounding: Rounding) -> Stages:
    """The stages of a sum times the float32 nearest to 1 / count, rounded half to even, in integers."""
    mantissa, exponent = math.frexp(float(np.float32(1.0 / count)))
    first = _in_float32(largest * count)
    if mantissa == 0.5:
        return (*first, Shift((1 - exponent,), "half_even"))
    factor = Multiply(int(math.ldexp(mantissa, FLOAT32_BITS)))
    return (*first, factor, Significant(FLOAT32_BITS), Shift((FLOAT32_BITS - exponent,), "half_even"))


def fixed_point_mean(count: int, largest: int, rounding: Rounding) -> Stages:
    """The stages of LiteRT's built-in mean: a reciprocal of 31 bits, half up, then a shift half away from zero."""
    shift = count.bit_length() - 1
    if shift == 0:
        return ()
    return Multiply((2**30 << shift) // count), Shift((31,), "half_up"), Shift((shift - 1,), "half_away")


MEANS: Mapping[Mean, Callable[[int, int, Rounding], Stages]] = {
    "exact": exact_mean,
    "reciprocal": float32_reciprocal_mean,
    "fixed_point": fixed_point_mean,
}
"""From the number of summands, the largest magnitude of one, and the op's rounding."""


def _in_float32(bound: int) -> Stages:
    return (Significant(FLOAT32_BITS),) if bound > 2**FLOAT32_BITS else ()


def _shift(amounts: Sequence[int], rounding: Rounding) -> Shift:
    limited = [min(max(amount, -MOST_LEFT), MOST_RIGHT) for amount in amounts]
    return Shift(tuple(limited) if len(set(limited)) > 1 else (limited[0],), rounding)

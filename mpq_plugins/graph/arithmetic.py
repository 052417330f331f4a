"""The arithmetic of runtimes, on tensors of codes (whole numbers, zero points taken off) of any framework.

Codes are float32 or float64 and exact. Steps may be powers of two or free; every constant is built in the kernel's
own precision and order of operations. Which runtime uses which function is a table (``graph.runtimes``).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mpq_plugins.graph.runner import Runner
from mpq_plugins.graph.runtimes.runtime import Accumulation, Entry, Law, Rule
from mpq_plugins.grid import Grid

ADD_BITS = 20
"""XNNPACK's add brings the larger of its two multipliers to between 2**20 and 2**21."""
EXACT_IN_FLOAT32 = 2**24
_FAR = 40
"""Exponents of steps, either way, within which float32 takes quotients without leaving its range."""
VECTOR = 8
"""How many channels LiteRT's optimized kernels requantize at once."""


def rounded(run: Runner, x: Any, rounding: Rule) -> Any:
    """The nearest whole number; exact halves to the even one, to the larger one, or away from zero. Or a law's own."""
    if callable(rounding):
        return rounding(run, x)
    if rounding == "half_even":
        return run.nearest(x)
    if rounding == "half_up":
        whole = run.floor(x)
        return run.where(x - whole >= 0.5, whole + 1.0, whole)
    whole = run.floor(run.abs(x))
    return run.sign(x) * run.where(run.abs(x) - whole >= 0.5, whole + 1.0, whole)


def clipped(run: Runner, codes: Any, low: float, high: float) -> Any:
    """The larger of a code and ``low``, then the smaller of that and ``high``, which wins where the two cross."""
    return run.minimum(run.maximum(codes, float(low)), float(high))


def step_of(grid: Grid) -> np.float32:
    """The step of an activation as a runtime holds it."""
    step: np.float32 = np.float32(grid.steps[0])
    return step


def values_of(run: Runner, codes: Any, grid: Grid) -> Any:
    """Codes as float32 values of the grid, each rounded once."""
    return run.to_precision(codes, "float32") * float(step_of(grid))


def codes_of(run: Runner, values: Any, grid: Grid) -> Any:
    """The codes of float32 values of the grid: exact, since a value is its code times the step, rounded once."""
    return run.nearest(values / float(step_of(grid)))


def int8_zero_point(grid: Grid) -> int:
    """The zero point of LiteRT's int8: -128 for an unsigned grid, so that all of 0 .. 255 fits."""
    return 0 if grid.signed else -128


def requantized(run: Runner, accumulator: Any, scale: NDArray[np.float32], rounding: Rule) -> Any:
    """Codes of an accumulator, held as float32 (past 2**24 that rounds), times a float32 factor.

    scale: step_input * step_weight / step_output, one, or shaped to broadcast along the channels.
    """
    return rounded(run, run.to_precision(accumulator, "float32") * run.tensor(scale, "float32"), rounding)


def shifted_upward(how: Accumulation, channels: int) -> NDArray[np.bool_]:
    """The channels in which an accumulation in fixed point shifts half up instead of half away from zero.

    >>> shifted_upward("fixed_point_vectors", 10).tolist() == [True] * 8 + [False] * 2
    True
    """
    first = {"fixed_point_vectors": channels // VECTOR * VECTOR, "fixed_point_upward": channels}.get(how, 0)
    found: NDArray[np.bool_] = np.arange(channels) < first
    return found


def fixed_point_product(
    run: Runner, accumulator: Any, scale: ArrayLike, upward: NDArray[np.bool_] | None = None
) -> Any:
    """Codes of an accumulator times a scale, as LiteRT's MultiplyByQuantizedMultiplier.

    By a multiplier of 31 bits, rounded half up, then a right shift, half away from zero. accumulator: float64 codes
    within int32, so that the product of 62 bits is formed in two halves, exactly.
    upward: where the shift is half up instead, shaped to broadcast against the accumulator.
    """
    multiplier, shift = quantized_multiplier(scale)
    codes = accumulator * run.tensor(np.asarray(2.0 ** np.maximum(shift, 0)), "float64")
    half = 2.0**15
    upper, lower = np.floor(multiplier / half), multiplier % half
    # (codes * (upper * 2**15 + lower) + 2**30) // 2**31, the fraction of the upper part carried into the lower one
    first = codes * run.tensor(upper, "float64")
    whole = run.floor(first / 2.0**16)
    rest = (first - whole * 2.0**16) * half + codes * run.tensor(lower, "float64")
    high = whole + run.floor((rest + 2.0**30) / 2.0**31)
    shifted = high / run.tensor(np.asarray(2.0 ** np.maximum(-shift, 0)), "float64")
    away = rounded(run, shifted, "half_away")
    if upward is None:
        return away
    return run.where(run.tensor(upward), rounded(run, shifted, "half_up"), away)


def quantized_multiplier(scale: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Multiplier in [2**30, 2**31) and shift with ``scale = multiplier / 2**31 * 2**shift``, as QuantizeMultiplier.

    >>> multiplier, shift = quantized_multiplier(0.75)
    >>> int(multiplier), int(shift)
    (1610612736, 0)
    """
    mantissa, shift = np.frexp(np.asarray(scale, np.float64))
    multiplier = np.floor(mantissa * 2**31 + 0.5)
    carried = multiplier == 2**31
    return np.where(carried, 2.0**30, multiplier), shift.astype(np.int64) + carried


def entered(run: Runner, x: Any, grid: Grid, entry: Entry, rounding: Rule) -> Any:
    """Codes of a float32 tensor, clipped to the grid."""
    scaled = x / float(step_of(grid)) if entry.by == "quotient" else x * float(np.float32(1) / step_of(grid))
    if entry.zero_point:
        zero = float(-grid.low)  # the container holds the lowest code as zero
        codes = rounded(run, scaled + zero, rounding) - zero
    else:
        codes = rounded(run, scaled, rounding)
    return clipped(run, codes, grid.low, grid.high)


def adds_in_float32(grids: tuple[Grid, Grid], grid: Grid) -> bool:
    """Whether float32 holds the exact sum of two activations, in steps of the sum's grid, at half of float64's memory.

    >>> fine, coarse = Grid.power_of_two(8, 0), Grid.power_of_two(8, 9)
    >>> adds_in_float32((fine, coarse), fine), adds_in_float32((fine, Grid.power_of_two(8, 20)), fine)
    (True, False)
    """
    first, second, own = (math.frexp(float(each.steps[0])) for each in (*grids, grid))
    exponents = first[1], second[1]
    if {first[0], second[0], own[0]} != {0.5} or max(map(abs, (*exponents, own[1]))) > _FAR:
        return False
    largest = sum(max(-each.low, each.high) << (e - min(exponents)) for each, e in zip(grids, exponents, strict=True))
    return largest <= EXACT_IN_FLOAT32


Sum = Callable[[Runner, Any, Any, tuple[Grid, Grid], Grid, Rule], Any]
"""Codes of a sum from the codes of both operands, float64; their grids, that of the sum, and the target's rounding."""


def add_exactly(run: Runner, a: Any, b: Any, grids: tuple[Grid, Grid], grid: Grid, rounding: Rule) -> Any:
    """The exact sum, rounded by a rule."""
    total = a * float(grids[0].steps[0]) + b * float(grids[1].steps[0])
    return rounded(run, total / float(grid.steps[0]), rounding)


def add_in_float32(run: Runner, a: Any, b: Any, grids: tuple[Grid, Grid], grid: Grid, rounding: Rule) -> Any:
    """The float32 sum of float32 values, as torch's kernels dequantize, add and quantize."""
    a, b = (values_of(run, codes, source) for codes, source in zip((a, b), grids, strict=True))
    return rounded(run, (a + b) / float(step_of(grid)), rounding)


def add_by_shared_shift(run: Runner, a: Any, b: Any, grids: tuple[Grid, Grid], grid: Grid, rounding: Rule) -> Any:
    """As XNNPACK: both scales, float32 quotients, as integers over one power of two; their sum is shifted half up."""
    scales = [step_of(source) / step_of(grid) for source in grids]
    shift = ADD_BITS - (math.frexp(max(scales))[1] - 1)
    first, second = (float(np.rint(np.ldexp(scale, shift))) for scale in scales)
    return run.floor((a * first + b * second + 2.0 ** (shift - 1)) / 2.0**shift)


def add_in_fixed_point(run: Runner, a: Any, b: Any, grids: tuple[Grid, Grid], grid: Grid, rounding: Rule) -> Any:
    """As LiteRT's built-in kernel: both operands on a step 2**20 times as fine as twice the coarser one's."""
    steps = [float(step_of(source)) for source in grids]
    twice = 2 * max(steps)
    scaled = [fixed_point_product(run, x * 2.0**ADD_BITS, step / twice) for x, step in zip((a, b), steps, strict=True)]
    return fixed_point_product(run, scaled[0] + scaled[1], twice / (2.0**ADD_BITS * float(step_of(grid))))


SUMS: dict[str, Sum] = {
    "exact": add_exactly,
    "float32": add_in_float32,
    "shared_shift": add_by_shared_shift,
    "fixed_point": add_in_fixed_point,
}
"""The words of runtimes.Sum."""


def sum_by(how: str | Law) -> Sum:
    """The sum of a word, or of a runtime's own."""
    return SUMS[how] if isinstance(how, str) else how


Product = Callable[[Runner, Any, NDArray[np.float64], Rule], Any]
"""Codes of a product, from the exact product of the operands' codes, float64, and of their steps over its own."""


def multiply_exactly(run: Runner, product: Any, scale: NDArray[np.float64], rounding: Rule) -> Any:
    """The exact product, rounded by a rule."""
    return rounded(run, product * float(scale), rounding)


def multiply_in_float32(run: Runner, product: Any, scale: NDArray[np.float64], rounding: Rule) -> Any:
    """The codes' product times one float32 factor, rounded by a rule."""
    return requantized(run, product, scale.astype(np.float32), rounding)


def multiply_in_fixed_point(run: Runner, product: Any, scale: NDArray[np.float64], rounding: Rule) -> Any:
    """As LiteRT's built-in kernel requantizes an accumulator."""
    return fixed_point_product(run, product, scale)


PRODUCTS: dict[str, Product] = {
    "exact": multiply_exactly,
    "float32": multiply_in_float32,
    "fixed_point": multiply_in_fixed_point,
}
"""The words of runtimes.Product."""


def product_by(how: str | Law) -> Product:
    """The product of a word, or of a runtime's own."""
    return PRODUCTS[how] if isinstance(how, str) else how


def mean_of(run: Runner, sums: Any, count: int, how: str, rounding: Rule) -> Any:
    """Codes of a mean, from exact float64 sums of codes. how: a word of runtimes.Mean; rounding: of an exact one."""
    if how == "exact":
        return rounded(run, sums / float(count), rounding)
    if how == "reciprocal":
        return run.nearest(run.to_precision(sums, "float32") * float(np.float32(1.0 / count)))
    shift = count.bit_length() - 1
    multiplier = (2**30 << shift) // count
    high = run.floor(sums * (multiplier / 2**31) + 0.5) if shift else sums
    return rounded(run, high / float(2 ** max(shift - 1, 0)), "half_away")


def reciprocal_keeps_ties(count: int) -> bool:
    """Whether sums of codes times the float32 nearest to 1 / count round as the quotient does.

    Not at 14, 26, 28, 30, 52 and 56, where the product moves a tie off the tie; always at odd counts and powers of two.

    >>> [count for count in range(1, 60) if not reciprocal_keeps_ties(count)]
    [14, 26, 28, 30, 52, 56]
    """
    ties = np.arange(256) + 0.5
    sums = ties * count
    whole = sums == np.rint(sums)
    scaled = sums.astype(np.float32) * np.float32(1.0 / count)
    return bool((scaled == ties)[whole].all())


def window_keeps_ties(sides: Sequence[int], ceil_mode: bool = False) -> bool:
    """The same of averages over windows of these sides; ceil_mode: at the border over all smaller ones too.

    Where it is not so, torch's engines, and even channels of one tensor, differ.

    >>> window_keeps_ties((3, 7)), window_keeps_ties((3, 7), ceil_mode=True), window_keeps_ties((14,))
    (True, False, False)
    """
    shapes = itertools.product(*(range(1, side + 1) for side in sides)) if ceil_mode else [tuple(sides)]
    return all(reciprocal_keeps_ties(math.prod(shape)) for shape in shapes)


def average_of(run: Runner, sums: Any, divisor: Any, grid: Grid, how: str, rounding: Rule) -> Any:
    """Codes of an average, from exact float64 sums of codes. divisor: a number or tensor. how: of runtimes.Average.
    rounding: of an exact one.

    "stored": codes are averaged as int8 stores them, half away from zero, so the zero point decides about ties.
    """
    if how == "exact":
        return rounded(run, sums / divisor, rounding)
    zero = float(int8_zero_point(grid))
    return rounded(run, (sums + divisor * zero) / divisor, "half_away") - zero

"""Steps that are powers of two and follow a weight: what msqe and po2_gradient have in common.

From "A Closer Look at Hardware-Friendly Weight Quantization" (2210.03671), sections 2 to 4 of whose
published quantizers these functions restate. Exponents here are those of the STEP, one or one per channel.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.ops import Array, Ops
from mpq_plugins.training.slot import Slot

EPSILON = 1e-7
DECAY_MOMENTS = 0.999
DECAY_STABLE = 0.99
SMALLEST = -40
"""Exponent of an all-zero tensor, and the least that any gets."""


def squared_error(ops: Ops, slot: Slot, x: Array, exponent: Array, bits: int, importance: Array | None) -> Array:
    """Sum of squared rounding error, weighted by importance (of x's shape), [] or [channels]."""
    step = slot.spread(ops, ops.exp2(exponent))
    error = x - ops.fake_quantize(x, step, slot.low(bits), slot.high(bits))
    squares = error * error if importance is None else importance * error * error
    return ops.sum(squares, slot.other_axes)


def lower_error_of_two(ops: Ops, slot: Slot, x: Array, exponent: Array, bits: int, importance: Array | None) -> Array:
    """Round-to-Lower-MSQE: floor or ceiling of a real exponent, whichever has the lower error; a tie goes up."""
    low, high = ops.floor(exponent), -ops.floor(-exponent)
    below = squared_error(ops, slot, x, low, bits, importance) < squared_error(ops, slot, x, high, bits, importance)
    return ops.where(below, low, high)


def least_squares(
    ops: Ops,
    slot: Slot,
    x: Array,
    exponent: Array,
    bits: int,
    importance: Array | None,
    iterations: int = 3,
    line_range: int = 6,
) -> Array:
    """The exponent of least squared error near ``exponent``: alternating least squares, then a line search.

    iterations: of the alternation between codes and step, which the projection to powers of two may
    leave at a wrong one. line_range: exponents tried around the best, half on either side.
    """
    best = exponent
    least = squared_error(ops, slot, x, best, bits, importance)
    now = best
    for _ in range(iterations):
        step = slot.spread(ops, ops.exp2(now))
        codes = ops.fake_quantize(x, step, slot.low(bits), slot.high(bits)) / step
        weighted = codes if importance is None else importance * codes
        ratio = ops.mean(weighted * x, slot.other_axes) / (ops.mean(weighted * codes, slot.other_axes) + EPSILON)
        now = ops.maximum(ops.round(ops.log2(ops.maximum(ratio, 0.0) + EPSILON)), float(SMALLEST))
        error = squared_error(ops, slot, x, now, bits, importance)
        better = error < least
        best, least = ops.where(better, now, best), ops.where(better, error, least)
    centre = best
    reach = line_range // 2
    for offset in (o for o in range(-reach, reach + 1) if o):
        tried = ops.maximum(centre + float(offset), float(SMALLEST))
        error = squared_error(ops, slot, x, tried, bits, importance)
        better = error < least
        best, least = ops.where(better, tried, best), ops.where(better, error, least)
    return best


def within_deviations(ops: Ops, slot: Slot, x: Array, sigma: float) -> Array:
    """1 where |x| is at most sigma standard deviations of its tensor or channel, else 0."""
    mean = slot.spread(ops, ops.mean(x, slot.other_axes))
    deviation = ops.sqrt(ops.mean((x - mean) * (x - mean), slot.other_axes))
    return ops.cast(ops.abs(x) <= sigma * slot.spread(ops, deviation), x)


def within_range(ops: Ops, slot: Slot, x: Array, exponent: Array, bits: int) -> Array:
    """1 where x lies within the range of codes at the (real) exponent, else 0."""
    limit = ops.exp2(exponent) * (slot.high(bits) + 0.5)
    return ops.cast(ops.abs(x) <= slot.spread(ops, limit), x)


def moved_moments(ops: Ops, slot: Slot, x: Array, gradient: Array, moments: Array, exponent: Array, bits: int) -> Array:
    """The moving average of squared upstream gradients, those of clipped elements counted as 0."""
    codes = ops.round(x / slot.spread(ops, ops.exp2(exponent)))
    inside = ops.cast((codes >= slot.low(bits)) & (codes <= slot.high(bits)), x)
    return DECAY_MOMENTS * moments + (1.0 - DECAY_MOMENTS) * inside * gradient * gradient


def largest(slot: Slot, x: NDArray[Any]) -> NDArray[np.float64]:
    """Largest magnitude of a weight, [] or [channels]."""
    return np.asarray(np.max(np.abs(x), axis=slot.other_axes), dtype=np.float64)


def exponent_of(steps: NDArray[Any]) -> NDArray[np.float64]:
    """Base-two logarithm of steps, at least SMALLEST."""
    return np.asarray(np.log2(np.maximum(steps, 2.0**SMALLEST)), dtype=np.float64)

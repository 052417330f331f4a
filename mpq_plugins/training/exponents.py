"""Steps that are powers of two and follow a weight: what msqe and po2_gradient have in common.

From "A Closer Look at Hardware-Friendly Weight Quantization" (2210.03671), sections 2 to 4 of whose
published quantizers these functions restate. Exponents here are those of the STEP, one or one per channel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mpq_plugins.array_ops.protocol import Array, Ops
from mpq_plugins.training.bank import Bank
from mpq_plugins.training.slot import Slot

EPSILON = 1e-7
DECAY_MOMENTS = 0.999
DECAY_STABLE = 0.99
SMALLEST = -40
"""Exponent of an all-zero tensor, and the least that any gets."""


def exponent_above(values: ArrayLike) -> NDArray[np.intp]:
    """Of the power of two at or above each value, exactly; of zero 0.

    >>> exponent_above([0.3, 1.0, 1.7]).tolist()
    [-1, 0, 1]
    """
    mantissa, exponent = np.frexp(values)
    return np.asarray(exponent - (mantissa == 0.5))


@dataclass(frozen=True)
class Weights:
    """The weights of a bank at its fixed bits. x: [elements]. Exponents are [channels]; so is what is added up."""

    ops: Ops
    bank: Bank
    x: Array

    def by_element(self, values: Array) -> Array:
        """[channels] for every element."""
        return self.bank.spread(self.ops, values, "channel", "element")

    def total(self, values: Array) -> Array:
        """[elements] added up by channel."""
        return self.bank.total(self.ops, values, "element", "channel")

    def mean(self, values: Array) -> Array:
        """[elements], their mean by channel."""
        return self.bank.mean(self.ops, values, "element", "channel")

    @property
    def codes(self) -> tuple[int, int]:
        """Lowest and highest code."""
        return self.bank.layout.codes[-1]

    def quantized(self, step: Array) -> Array:
        """x by a step for each element."""
        return self.ops.fake_quantize(self.x, step, *self.codes)


def squared_error(weights: Weights, exponent: Array, importance: Array | None) -> Array:
    """Sum of squared rounding error, weighted by importance ([elements])."""
    error = weights.x - weights.quantized(weights.by_element(weights.ops.exp2(exponent)))
    squares = error * error if importance is None else importance * error * error
    return weights.total(squares)


def lower_error_of_two(weights: Weights, exponent: Array, importance: Array | None) -> Array:
    """Round-to-Lower-MSQE: floor or ceiling of a real exponent, whichever has the lower error; a tie goes up."""
    ops = weights.ops
    low, high = ops.floor(exponent), -ops.floor(-exponent)
    below = squared_error(weights, low, importance) < squared_error(weights, high, importance)
    return ops.where(below, low, high)


def least_squares(
    weights: Weights, exponent: Array, importance: Array | None, iterations: int = 3, line_range: int = 6
) -> Array:
    """The exponent of least squared error near ``exponent``: alternating least squares, then a line search.

    iterations: of the alternation between codes and step, which the projection to powers of two may
    leave at a wrong one. line_range: exponents tried around the best, half on either side.
    """
    ops, x = weights.ops, weights.x
    best = exponent
    least = squared_error(weights, best, importance)
    now = best
    for _ in range(iterations):
        step = weights.by_element(ops.exp2(now))
        codes = weights.quantized(step) / step
        weighted = codes if importance is None else importance * codes
        ratio = weights.mean(weighted * x) / (weights.mean(weighted * codes) + EPSILON)
        now = ops.maximum(ops.round(ops.log2(ops.maximum(ratio, 0.0) + EPSILON)), float(SMALLEST))
        error = squared_error(weights, now, importance)
        better = error < least
        best, least = ops.where(better, now, best), ops.where(better, error, least)
    centre = best
    reach = line_range // 2
    for offset in (o for o in range(-reach, reach + 1) if o):
        tried = ops.maximum(centre + float(offset), float(SMALLEST))
        error = squared_error(weights, tried, importance)
        better = error < least
        best, least = ops.where(better, tried, best), ops.where(better, error, least)
    return best


def within_deviations(weights: Weights, sigma: float) -> Array:
    """1 where |x| is at most sigma standard deviations of its tensor or channel, else 0."""
    ops, x = weights.ops, weights.x
    centred = x - weights.by_element(weights.mean(x))
    deviation = ops.sqrt(weights.mean(centred * centred))
    return ops.cast(ops.abs(x) <= weights.by_element(sigma * deviation), x)


def within_range(weights: Weights, exponent: Array) -> Array:
    """1 where x lies within the range of codes at the (real) exponent, else 0."""
    limit = weights.ops.exp2(exponent) * (weights.codes[1] + 0.5)
    return weights.ops.cast(weights.ops.abs(weights.x) <= weights.by_element(limit), weights.x)


def importance_of(weights: Weights, moments: Array, root: bool) -> Array:
    """What an element's error counts by its moments, of mean 1; all alike before the first gradient.

    The moments start at 0, and since only their ratios count, that is the moving average without bias, which weighs
    errors from the first gradient on. (The paper's code starts them at 1, beside which a gradient of an average
    over a batch is nothing for a thousand steps.)
    """
    ops = weights.ops
    values = ops.sqrt(moments) if root else moments
    mean = weights.by_element(weights.mean(values))
    return ops.where(mean > 0, values / ops.where(mean > 0, mean, mean + 1.0), mean * 0.0 + 1.0)


def moved_moments(
    weights: Weights, gradient: Array, moments: Array, exponent: Array, decay: float = DECAY_MOMENTS
) -> Array:
    """The moving average of squared upstream gradients, those of clipped elements counted as 0.

    An overflow, as a scaled loss in half precision has it now and then, moves nothing.
    """
    ops = weights.ops
    low, high = weights.codes
    codes = ops.round(weights.x / weights.by_element(ops.exp2(exponent)))
    inside = ops.cast((codes >= low) & (codes <= high), weights.x)
    moved = decay * moments + (1.0 - decay) * inside * gradient * gradient
    return ops.where(moved < float("inf"), moved, moments)


def largest(slot: Slot, x: NDArray[Any]) -> NDArray[np.float64]:
    """Largest magnitude of a weight, [] or [channels]."""
    return np.asarray(np.max(np.abs(x), axis=slot.other_axes), dtype=np.float64)


def exponent_of(steps: NDArray[Any]) -> NDArray[np.float64]:
    """Base-two logarithm of steps, at least SMALLEST."""
    return np.asarray(np.log2(np.maximum(steps, 2.0**SMALLEST)), dtype=np.float64)

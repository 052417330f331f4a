"""The arithmetic of LiteRT's integer kernels, on float tensors that hold grid values.

Steps are powers of two, so dividing by one is exact, and every function returns what the kernel
returns after dequantization. The kernels are "xnnpack", the default delegate, which requantizes once through
float32; "builtin", those without it, which requantize an accumulator twice (a rounding doubling
multiplication half up, then a shift half away from zero). tests/test_arithmetic.py and
integration_tests/tfmot compare them with the interpreter.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from mpq_plugins.grid import Grid
from mpq_tfmot.keras import tf

XNNPACK = "xnnpack"
BUILTIN = "builtin"


def round_half_away(x: Any) -> Any:
    """Nearest integer, ties away from zero."""
    whole = tf.floor(tf.abs(x))
    return tf.sign(x) * tf.where(tf.abs(x) - whole >= 0.5, whole + 1, whole)


def round_half_up(x: Any) -> Any:
    """Nearest integer, ties to the larger one."""
    whole = tf.floor(x)
    return tf.where(x - whole >= 0.5, whole + 1, whole)


ROUNDINGS: dict[str, Callable[[Any], Any]] = {
    "half_even": tf.round,
    "half_away": round_half_away,
    "half_up": round_half_up,
}
"""The rounding of a Target, by its name."""


def container_low(grid: Grid) -> int:
    """Smallest code that int8 holds of a grid: unsigned grids have zero point -128."""
    return -128 if grid.signed else 0


def zero_point_of(grid: Grid) -> int:
    """The int8 zero point: -128 for an unsigned grid, so that all of 0 .. 255 fits."""
    return 0 if grid.signed else -128


def to_grid(codes: Any, grid: Grid) -> Any:
    """Whole codes as float32 values, clipped to the grid."""
    return tf.cast(tf.clip_by_value(codes, float(grid.low), float(grid.high)), tf.float32) * grid.steps[0]


def requantize(x: Any, grid: Grid, rounding: str) -> Any:
    """Exact values (accumulators, sums) on a grid of another step.

    A float64 x must be exact; XNNPACK turns an int32 accumulator into float32 first, which rounds half
    to even past 2**24, and so does this function.
    """
    return to_grid(ROUNDINGS[rounding](tf.cast(x, tf.float32) / grid.steps[0]), grid)


def requantize_twice(accumulator: Any, accumulator_step: Any, grid: Grid) -> Any:
    """Accumulator values on a grid, by MultiplyByQuantizedMultiplier: halved half up, then shifted half away.

    accumulator: float64 values; accumulator_step: one step or [channels].
    """
    codes = tf.cast(accumulator, tf.float64) / accumulator_step
    ratio = accumulator_step / grid.steps[0]
    halved = tf.floor((codes + 1) / 2)
    shifted = round_half_away(halved * (2 * ratio))
    return to_grid(tf.where(ratio < 1, shifted, codes * ratio), grid)


def quantize_input(x: Any, grid: Grid, kernels: str) -> Any:
    """A float32 tensor on its grid: XNNPACK rounds half to even, the built-in kernel half away from zero."""
    rounding = "half_even" if kernels == XNNPACK else "half_away"
    return requantize(tf.cast(x, tf.float32), grid, rounding)


def average_pool(x: Any, grid: Grid, pool: tuple[int, int], strides: tuple[int, int], padding: str) -> Any:
    """Average over the valid elements of each window, on the grid of the input.

    The kernel averages int8 codes as they are stored, half away from zero, so the zero point of an
    unsigned grid decides about ties.
    """
    stored = tf.cast(x, tf.float64) / grid.steps[0] + zero_point_of(grid)
    if padding == "SAME":
        total, count = (
            _window_sums(stored, pool, strides),
            _window_sums(tf.ones_like(stored[:1, :, :, :1]), pool, strides),
        )
    else:
        count = float(math.prod(pool))
        total = tf.round(tf.nn.avg_pool2d(stored, pool, strides, padding) * count)
    return to_grid(round_half_away(total / count) - zero_point_of(grid), grid)


def _window_sums(x: Any, pool: tuple[int, int], strides: tuple[int, int]) -> Any:
    """Sums over the windows of SAME padding, zeros outside."""
    channels = x.shape[-1]
    kernel = tf.ones((*pool, channels, 1), x.dtype)
    step = (1, *strides, 1)
    if strides[0] == strides[1]:
        return tf.nn.depthwise_conv2d(x, kernel, step, "SAME")
    parts = [tf.nn.conv2d(x[..., c : c + 1], kernel[:, :, :1], strides, "SAME") for c in range(channels)]
    return tf.concat(parts, -1)


def mean(x: Any, grid: Grid, axes: tuple[int, ...], keepdims: bool, kernels: str) -> Any:
    """Mean over axes, straight to the grid of the input.

    XNNPACK multiplies the sum by the float32 reciprocal of the count, half to even; the built-in kernel
    has the reciprocal in its fixed-point multiplier and rounds twice.
    """
    sums = tf.reduce_sum(tf.cast(x, tf.float64) / grid.steps[0], axes, keepdims)
    count = math.prod(x.shape[axis] for axis in axes)
    if kernels == XNNPACK:
        scaled = tf.cast(sums, tf.float32) * tf.constant(1.0 / count, tf.float32)
        return to_grid(tf.round(scaled), grid)
    shift = count.bit_length() - 1
    multiplier = (2**30 << shift) // count
    high = tf.floor(sums * (multiplier / 2**31) + 0.5) if shift else sums
    return to_grid(round_half_away(high / 2 ** max(shift - 1, 0)), grid)

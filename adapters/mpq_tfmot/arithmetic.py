"""The arithmetic of LiteRT's integer kernels, on tensors of codes (whole numbers, zero points taken off).

Codes are float32 or float64 and exact. Steps may be powers of two or free; every constant is built in
the kernel's own precision and order of operations. The kernels are "xnnpack", the default delegate,
and "builtin", those without it. Found by experiment with ai-edge-litert 2.3: an accumulator is requantized by
XNNPACK in float32, half to even, and by the built-in kernels in fixed point, twice (a rounding
doubling multiplication half up, then a shift half away from zero). tests/test_arithmetic.py and
integration_tests/tfmot compare them with the interpreter.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mpq_plugins.grid import Grid
from mpq_tfmot.keras import tf

XNNPACK = "xnnpack"
BUILTIN = "builtin"
ONNXRUNTIME = "cpu"
ADD_BITS = 20
"""XNNPACK's add brings the larger of its two multipliers to between 2**20 and 2**21."""


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


def step_of(grid: Grid) -> np.float32:
    """The step of an activation as the flatbuffer stores it."""
    return np.float32(grid.steps[0])


def codes_of(x: Any, grid: Grid) -> Any:
    """The codes of float32 grid values: exact, since a value is its code times the step, rounded once."""
    return tf.round(x / step_of(grid))


def values_of(codes: Any, grid: Grid) -> Any:
    """Whole codes as float32 values, clipped to the grid."""
    return tf.cast(tf.clip_by_value(codes, float(grid.low), float(grid.high)), tf.float32) * step_of(grid)


def quantize_input(x: Any, grid: Grid, kernels: str) -> Any:
    """Codes of a float32 tensor.

    XNNPACK multiplies by the reciprocal of the step, half to even; the built-in kernel divides, half away.
    """
    if kernels == BUILTIN:
        return round_half_away(x / step_of(grid))
    return tf.round(x * (np.float32(1) / step_of(grid)))


def requantize(accumulator: Any, weight_steps: ArrayLike, source: Grid, grid: Grid, rounding: str) -> Any:
    """Codes of an accumulator, as XNNPACK (half to even): in float32, times one float32 scale for each channel.

    accumulator: whole numbers; past 2**24 they round to float32 first. weight_steps: one, or [channels].
    """
    scale = step_of(source) * np.asarray(weight_steps, np.float32) / step_of(grid)
    return ROUNDINGS[rounding](tf.cast(accumulator, tf.float32) * scale)


def requantize_twice(accumulator: Any, weight_steps: ArrayLike, source: Grid, grid: Grid) -> Any:
    """Codes of an accumulator, as the built-in kernels: float64 codes, within int32."""
    steps = np.asarray(weight_steps, np.float32).astype(np.float64)
    return fixed_point_product(accumulator, float(step_of(source)) * steps / float(step_of(grid)))


def fixed_point_product(accumulator: Any, scale: ArrayLike) -> Any:
    """MultiplyByQuantizedMultiplier: by a multiplier of 31 bits, rounded half up, then a shift, half away."""
    multiplier, shift = quantized_multiplier(scale)
    left, right = np.maximum(shift, 0), np.maximum(-shift, 0)
    codes = tf.cast(accumulator, tf.int64) * tf.constant(2**left)
    high = tf.math.floordiv(codes * tf.constant(multiplier) + 2**30, 2**31)
    return round_half_away(tf.cast(high, tf.float64) / tf.constant(2.0**right, tf.float64))


def quantized_multiplier(scale: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Multiplier in [2**30, 2**31) and shift with ``scale = multiplier / 2**31 * 2**shift``, as QuantizeMultiplier.

    >>> multiplier, shift = quantized_multiplier(0.75)
    >>> int(multiplier), int(shift)
    (1610612736, 0)
    """
    mantissa, shift = np.frexp(np.asarray(scale, np.float64))
    multiplier = np.floor(mantissa * 2**31 + 0.5).astype(np.int64)
    carried = multiplier == 2**31
    return np.where(carried, 2**30, multiplier), shift.astype(np.int64) + carried


def add_exactly(a: Any, b: Any, grids: tuple[Grid, Grid], grid: Grid, rounding: str) -> Any:
    """Codes of a sum, from the codes of both operands: exact, then rounded by a rule, for targets without a kernel."""
    total = a * float(grids[0].steps[0]) + b * float(grids[1].steps[0])
    return ROUNDINGS[rounding](total / float(grid.steps[0]))


def add_xnnpack(a: Any, b: Any, grids: tuple[Grid, Grid], grid: Grid) -> Any:
    """Codes of a sum, from the codes of both operands, float64.

    Both scales, float32 quotients, become integers over one power of two; the sum of the products is
    shifted half up.
    """
    scales = [step_of(source) / step_of(grid) for source in grids]
    shift = ADD_BITS - (math.frexp(max(scales))[1] - 1)
    multipliers = [float(np.rint(np.ldexp(scale, shift))) for scale in scales]
    return tf.floor((a * multipliers[0] + b * multipliers[1] + 2.0 ** (shift - 1)) / 2.0**shift)


def add_builtin(a: Any, b: Any, grids: tuple[Grid, Grid], grid: Grid) -> Any:
    """As add_xnnpack, but both operands are brought to a step 2**20 times as fine as twice the coarser one's."""
    steps = [float(step_of(source)) for source in grids]
    twice = 2 * max(steps)
    scaled = [fixed_point_product(x * 2.0**ADD_BITS, step / twice) for x, step in zip((a, b), steps, strict=True)]
    return fixed_point_product(scaled[0] + scaled[1], twice / (2.0**ADD_BITS * float(step_of(grid))))


ADDS = {XNNPACK: add_xnnpack, BUILTIN: add_builtin}
"""How each of LiteRT's kernels adds."""


def average_pool(
    codes: Any, grid: Grid, pool: tuple[int, int], strides: tuple[int, int], padding: str, kernels: str = XNNPACK
) -> Any:
    """Average over the valid elements of each window, on the grid of the input.

    LiteRT's kernels average int8 codes as they are stored, half away from zero, so the zero point of an
    unsigned grid decides about ties; onnxruntime rounds half to even.
    """
    stored = tf.cast(codes, tf.float64) + zero_point_of(grid)
    if padding == "SAME":
        total, count = (
            _window_sums(stored, pool, strides),
            _window_sums(tf.ones_like(stored[:1, :, :, :1]), pool, strides),
        )
    else:
        count = float(math.prod(pool))
        total = tf.round(tf.nn.avg_pool2d(stored, pool, strides, padding) * count)
    if kernels == ONNXRUNTIME:
        return tf.round((total - zero_point_of(grid) * count) / count)
    return round_half_away(total / count) - zero_point_of(grid)


def _window_sums(x: Any, pool: tuple[int, int], strides: tuple[int, int]) -> Any:
    """Sums over the windows of SAME padding, zeros outside."""
    channels = x.shape[-1]
    kernel = tf.ones((*pool, channels, 1), x.dtype)
    step = (1, *strides, 1)
    if strides[0] == strides[1]:
        return tf.nn.depthwise_conv2d(x, kernel, step, "SAME")
    parts = [tf.nn.conv2d(x[..., c : c + 1], kernel[:, :, :1], strides, "SAME") for c in range(channels)]
    return tf.concat(parts, -1)


def mean(codes: Any, axes: tuple[int, ...], keepdims: bool, kernels: str) -> Any:
    """Mean over axes, straight to the grid of the input.

    XNNPACK multiplies the sum by the float32 reciprocal of the count, half to even; the built-in kernel
    has the reciprocal in its fixed-point multiplier and rounds twice; onnxruntime divides, half to even.
    """
    sums = tf.reduce_sum(tf.cast(codes, tf.float64), axes, keepdims)
    count = math.prod(codes.shape[axis] for axis in axes)
    if kernels == ONNXRUNTIME:
        return tf.round(sums / count)
    if kernels == XNNPACK:
        return tf.round(tf.cast(sums, tf.float32) * tf.constant(1.0 / count, tf.float32))
    shift = count.bit_length() - 1
    multiplier = (2**30 << shift) // count
    high = tf.floor(sums * (multiplier / 2**31) + 0.5) if shift else sums
    return round_half_away(high / 2 ** max(shift - 1, 0))

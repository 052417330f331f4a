"""A grid in the FakeQuant ops that LiteRT's converter makes integers of.

The converter knows 8-bit ranges. A grid of fewer bits is part of an 8-bit one, so weights are put on
their grid and named in the finer one, and activations are clipped by minimum and maximum.
"""

from __future__ import annotations

from typing import Any

from mpq_tfmot.keras import tf

LOW8, HIGH8 = -128.0, 127.0


def emit_weight(x: Any, step: Any, low: Any, high: Any, axis: int | None) -> Any:
    """A weight on the grid ``low .. high`` times step ([] or [channels] along axis), in 8-bit FakeQuant ops."""
    on_grid = _rounded(x, _spread(step, axis, x.shape.rank), low, high)
    fine = step * (high + 1.0) / -LOW8
    if axis is None:
        return tf.quantization.fake_quant_with_min_max_vars(on_grid, LOW8 * fine, HIGH8 * fine)
    per_channel = tf.quantization.fake_quant_with_min_max_vars_per_channel
    if axis % x.shape.rank == x.shape.rank - 1:
        return per_channel(on_grid, LOW8 * fine, HIGH8 * fine)
    # the op takes channels along the last axis alone; a depthwise weight has one element there
    order = [*range(x.shape.rank - 2), x.shape.rank - 1, x.shape.rank - 2]
    depthwise = x.shape[-1] == 1
    moved = tf.reshape(on_grid, (*x.shape[:-2], -1)) if depthwise else tf.transpose(on_grid, order)
    emitted = per_channel(moved, LOW8 * fine, HIGH8 * fine)
    return tf.reshape(emitted, x.shape) if depthwise else tf.transpose(emitted, order)


def emit_activation(x: Any, step: Any, low: Any, high: Any, signed: bool, clips: bool) -> Any:
    """An activation on its grid. clips: whether the grid is narrower than the 8 bits of the FakeQuant op."""
    first, last = (LOW8, HIGH8) if signed else (0.0, HIGH8 - LOW8)
    y = tf.quantization.fake_quant_with_min_max_vars(x, first * step, last * step)
    if clips:
        y = tf.minimum(y, high * step)
        y = tf.maximum(y, low * step) if signed else y
    return y


def _spread(step: Any, axis: int | None, rank: int) -> Any:
    if axis is None:
        return step
    shape = [1] * rank
    shape[axis] = -1
    return tf.reshape(step, shape)


def _rounded(x: Any, step: Any, low: Any, high: Any) -> Any:
    return tf.clip_by_value(tf.round(x / step), low, high) * step

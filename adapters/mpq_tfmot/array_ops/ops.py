"""The array functions of trainable methods in TensorFlow: for eager code, tf.function and XLA, with gradients.

What is computed between half-precision activations and single-precision parameters is computed in
single precision and returned in the precision of the tensor.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mpq_plugins.array_ops.protocol import DELTA, STRAIGHT_THROUGH, Array, Ops
from mpq_plugins.array_ops.surrogates import check_rounding, gradient_factor
from mpq_tfmot.keras import tf

HALVES = (tf.float16, tf.bfloat16)
_LN2 = math.log(2.0)
_BIAS, _MANTISSA = 127, 23  # of a float32


class TensorflowOps:
    """mpq_plugins.array_ops.protocol.Ops on tensors and variables."""

    exp: Any = staticmethod(tf.exp)
    log: Any = staticmethod(tf.math.log)
    atanh: Any = staticmethod(tf.math.atanh)
    sqrt: Any = staticmethod(tf.sqrt)
    abs: Any = staticmethod(tf.abs)
    sign: Any = staticmethod(tf.sign)
    sin: Any = staticmethod(tf.sin)
    tanh: Any = staticmethod(tf.tanh)
    sigmoid: Any = staticmethod(tf.sigmoid)
    relu: Any = staticmethod(tf.nn.relu)
    minimum: Any = staticmethod(tf.minimum)
    maximum: Any = staticmethod(tf.maximum)
    where: Any = staticmethod(tf.where)
    softmax: Any = staticmethod(tf.nn.softmax)
    sum: Any = staticmethod(tf.reduce_sum)
    mean: Any = staticmethod(tf.reduce_mean)
    max: Any = staticmethod(tf.reduce_max)
    stack: Any = staticmethod(tf.stack)
    reshape: Any = staticmethod(tf.reshape)
    stop_gradient: Any = staticmethod(tf.stop_gradient)

    bit_and: Any = staticmethod(lambda a, b: tf.bitwise.bitwise_and(a, tf.cast(b, a.dtype)))
    bit_xor: Any = staticmethod(lambda a, b: tf.bitwise.bitwise_xor(a, tf.cast(b, a.dtype)))
    shift_right: Any = staticmethod(lambda a, by: tf.bitwise.right_shift(a, tf.cast(by, a.dtype)))

    def integers(self, values: Any, like: Array) -> Array:
        return tf.cast(tf.convert_to_tensor(values), tf.int64)

    def float32(self, x: Array) -> Array:
        return tf.cast(x, tf.float32)

    def move_axis(self, x: Array, axis: int, to: int) -> Array:
        order = list(range(len(x.shape)))
        order.insert(to % len(order), order.pop(axis % len(order)))
        return tf.transpose(x, order)

    def array(self, values: Any, like: Array) -> Array:
        return tf.cast(tf.convert_to_tensor(values), _dtype(like))

    def argmax(self, x: Array, axis: int = -1) -> Array:
        return tf.argmax(x, axis)

    def floor(self, x: Array) -> Array:
        return tf.stop_gradient(tf.floor(x))

    def log2(self, x: Array) -> Array:
        x = tf.convert_to_tensor(x)
        y = tf.math.log(x) / _LN2
        whole = tf.round(y)
        # the quotient of two logarithms misses whole numbers by a rounding; ceil and floor would notice
        return y + tf.stop_gradient(tf.where(tf.equal(_power_of_two(whole), x), whole, y) - y)

    def exp2(self, x: Array) -> Array:
        x = tf.convert_to_tensor(x)
        whole = tf.stop_gradient(tf.floor(x))
        return _power_of_two(whole) * tf.exp((x - whole) * _LN2)

    def gather(self, x: Array, index: Array) -> Array:
        return tf.gather(x, index)

    def repeat(self, x: Array, counts: Array, total: int) -> Array:
        return tf.gather(x, _places(counts, total))

    def segment_sum(self, x: Array, counts: Array) -> Array:
        places = _places(counts, int(x.shape[0]))
        wide = tf.cast(x, tf.float64)
        return tf.cast(tf.math.unsorted_segment_sum(wide, places, int(counts.shape[0])), x.dtype)

    def count_alike(self, x: Array, size: int) -> Array:
        places = tf.cast(x, tf.int64)
        counts = tf.math.unsorted_segment_sum(tf.ones_like(places), places, size)
        return tf.cast(tf.gather(counts, places), x.dtype)

    def concat(self, parts: Sequence[Array], axis: int = 0) -> Array:
        return tf.concat(list(parts), axis)

    def one_hot(self, index: Array, size: int, like: Array) -> Array:
        return tf.one_hot(index, size, dtype=_dtype(like))

    def cast(self, condition: Array, like: Array) -> Array:
        return tf.cast(condition, _dtype(like))

    def uniform_like(self, x: Array) -> Array:
        return tf.random.uniform(tf.shape(x), dtype=_dtype(x))

    def normal_like(self, x: Array) -> Array:
        return tf.random.normal(tf.shape(x), dtype=_dtype(x))

    def round(self, x: Array, rounding: str = STRAIGHT_THROUGH, delta: float = DELTA) -> Array:
        def factor(x: Array, g: Array) -> Array:
            return g * gradient_factor(OPS, rounding, x - tf.round(x), g, delta)

        check_rounding(rounding)
        return _with_gradient(tf.round, factor, x)

    def ceil(self, x: Array) -> Array:
        return _with_gradient(tf.math.ceil, lambda _, g: g, x)

    def limit_gradient(self, x: Array, bound: Array) -> Array:
        bound = tf.cast(tf.convert_to_tensor(bound), _dtype(x))
        return _with_gradient(tf.identity, lambda _, g: tf.clip_by_value(g, -bound, bound), x)

    def fake_quantize(
        self,
        x: Array,
        step: Array,
        low: Array,
        high: Array,
        rounding: str = STRAIGHT_THROUGH,
        delta: float = DELTA,
        strict: bool = False,
        clip_first: bool = False,
    ) -> Array:
        check_rounding(rounding)
        x = tf.convert_to_tensor(x)
        kept, wide = x.dtype, tf.float32 if x.dtype in HALVES else x.dtype

        @tf.custom_gradient  # type: ignore[untyped-decorator]
        def quantized(x: Array, step: Array, low: Array, high: Array) -> tuple[Array, Callable[[Array], Any]]:
            if clip_first:
                code = tf.round(_clipped(x / step, low, high))

                def backward_clipped_first(g: Array) -> tuple[Array, ...]:
                    return _gradients_clipped_first(x, step, low, high, code, g, rounding, delta)

                return step * code, backward_clipped_first
            r = tf.round(x / step)
            code = _clipped(r, low, high)

            def backward(g: Array) -> tuple[Array, ...]:
                return _gradients(x, step, low, high, r, code, g, rounding, delta, strict)

            return step * code, backward

        wide_arrays = (tf.cast(tf.convert_to_tensor(a, dtype_hint=wide), wide) for a in (x, step, low, high))
        return tf.cast(quantized(*wide_arrays), kept)


OPS: Ops = TensorflowOps()
"""The functions, as methods take them."""


def _gradients(
    x: Array,
    step: Array,
    low: Array,
    high: Array,
    r: Array,
    code: Array,
    g: Array,
    rounding: str,
    delta: float,
    strict: bool,
) -> tuple[Array, ...]:
    """The closed form of array_ops.fake_quantize_gradients. r: x / step, rounded; code: r, clipped.

    Products with masks, since a selection against a single zero takes five times as long.
    """
    inside = tf.logical_and(r > low, r < high) if strict else tf.equal(r, code)
    passed = _masked(g, inside)
    if rounding != STRAIGHT_THROUGH and delta:
        passed = passed * gradient_factor(OPS, rounding, x / step - r, g, delta)
    below, above = (r <= low, r >= high) if strict else (r < low, r > high)
    return (
        passed,
        # inside: g (r - u f), outside: g times the code clipped to
        _summed_to(g * code - passed * (x / step), step),
        _summed_to(_masked(g, below) * step, low),
        _summed_to(_masked(g, above) * step, high),
    )


def _gradients_clipped_first(
    x: Array, step: Array, low: Array, high: Array, code: Array, g: Array, rounding: str, delta: float
) -> tuple[Array, ...]:
    """The same where what is rounded is clipped already."""
    u = x / step
    below, above = u < low, u > high
    passed = g
    if rounding != STRAIGHT_THROUGH and delta:
        passed = g * gradient_factor(OPS, rounding, _clipped(u, low, high) - code, g, delta)
    inside = _masked(passed, tf.logical_not(tf.logical_or(below, above)))
    return (
        inside,
        _summed_to(g * code - inside * u, step),
        _summed_to(_masked(passed, below) * step, low),
        _summed_to(_masked(passed, above) * step, high),
    )


def _masked(values: Array, mask: Array) -> Array:
    """Zero where the mask is false, whatever the value."""
    return tf.math.multiply_no_nan(values, tf.cast(mask, values.dtype))


def _clipped(codes: Array, low: Array, high: Array) -> Array:
    """In one pass where the limits are two numbers."""
    if low.shape.rank == 0 and high.shape.rank == 0:
        return tf.raw_ops.ClipByValue(t=codes, clip_value_min=low, clip_value_max=high)
    return tf.clip_by_value(codes, low, high)


def _summed_to(values: Array, argument: Array) -> Array:
    """The sum over the axes along which the argument, of known shape, was broadcast."""
    lead = values.shape.rank - argument.shape.rank
    values = tf.reduce_sum(values, list(range(lead)))
    kept = [axis for axis, size in enumerate(argument.shape) if size == 1]
    return tf.reduce_sum(values, kept, keepdims=True)


def _with_gradient(forward: Callable[[Array], Array], backward: Callable[[Array, Array], Array], x: Array) -> Array:
    """``forward(x)``, whose gradient is ``backward(x, upstream)``."""

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def made(x: Array) -> tuple[Array, Callable[[Array], Array]]:
        return forward(x), lambda g: backward(x, g)

    return made(tf.convert_to_tensor(x))


def _places(counts: Array, total: int) -> Array:
    """For each of ``total`` rows, the place of the count that it belongs to."""
    known = tf.get_static_value(counts)
    if known is not None:
        return tf.constant(np.repeat(np.arange(len(known), dtype=np.int64), known))
    ends = tf.cumsum(counts)
    return tf.searchsorted(ends, tf.range(total, dtype=counts.dtype), side="right")


def _power_of_two(exponent: Array) -> Array:
    """``2 ** exponent`` of whole numbers in the range of normal float32, exactly, without a gradient."""
    whole = tf.cast(tf.clip_by_value(tf.cast(exponent, tf.float32), 1.0 - _BIAS, float(_BIAS)), tf.int32)
    bits = tf.bitwise.left_shift(whole + _BIAS, _MANTISSA)
    return tf.stop_gradient(tf.cast(tf.bitcast(bits, tf.float32), exponent.dtype))


def _dtype(like: Array) -> Any:
    return tf.as_dtype(like.dtype)

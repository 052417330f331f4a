"""A tensor on a fixed grid of one power-of-two step, rounded as the target's runtime rounds.

TensorFlow's QuantizeAndDequantize makes one pass over memory forward and one backward. XLA fuses passes by itself, and
its version of that operation makes a code of NaN, so there the arithmetic is written out. So it is where ties go up:
TensorFlow adds a half in float32 and takes the floor, which brings the float32 before a half to one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mpq_plugins.graph.output_rounding import OutputRounding
from mpq_tfmot.keras import tf
from mpq_tfmot.runner.tensorflow_runner import TensorflowRunner

RUN = TensorflowRunner()
BELOW = 1.0 - 2.0**-24
"""Times a float32 that is no power of two: the float32 before it."""


def on_fixed_grid(x: Any, step: Any, low: Any, high: Any, bits: int, signed: bool, rule: OutputRounding) -> Any:
    """x, float32, on the grid ``low .. high`` times step, scalars, with straight-through gradients inside.

    bits, signed: of the codes, two's complement where they are signed.
    """
    if rule.once and rule.rounding == "half_even" and tf.__internal__.get_enclosing_xla_context() is None:
        y = _in_one_pass(x, step, low, high, bits, signed)
    else:
        y = _written_out(x, step, low, high, rule)
    if rule.codes is None:
        return y
    return tf.clip_by_value(y, step * float(rule.codes[0]), step * float(rule.codes[1]))


def looked_up(inputs: Any, step: Any, rule: OutputRounding) -> Any:
    """A function of one element of values on its input's grid, by its table."""
    source, lowest = rule.source
    codes = tf.cast(tf.round(tf.cast(inputs, tf.float32) / source), tf.int32) - lowest
    return tf.gather(tf.constant(rule.table, tf.float32), codes) * step


def _in_one_pass(x: Any, step: Any, low: Any, high: Any, bits: int, signed: bool) -> Any:
    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def quantized(x: Any) -> tuple[Any, Callable[[Any], Any]]:
        y = tf.raw_ops.QuantizeAndDequantizeV4(
            input=x,
            input_min=low * step,
            input_max=high * step,
            signed_input=signed,
            num_bits=bits,
            range_given=True,
            round_mode="HALF_TO_EVEN",
            axis=-1,
        )

        def backward(g: Any) -> Any:
            # ties at the ends: low is even and takes its own, high is odd and leaves its own to the next code
            return tf.raw_ops.QuantizeAndDequantizeV4Grad(
                gradients=g, input=x, input_min=(low - 0.5) * step, input_max=(high + 0.5) * step * BELOW, axis=-1
            ).input_backprop

        return y, backward

    return quantized(x)


def _written_out(x: Any, step: Any, low: Any, high: Any, rule: OutputRounding) -> Any:
    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def quantized(x: Any) -> tuple[Any, Callable[[Any], Any]]:
        codes = rule.rounded(RUN, x / step)
        clipped = tf.clip_by_value(codes, low, high)
        return clipped * step, lambda g: tf.math.multiply_no_nan(g, tf.cast(tf.equal(codes, clipped), g.dtype))

    return quantized(x)

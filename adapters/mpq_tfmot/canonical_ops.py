"""Op: one node of a canonical model; and the float arithmetic of each kind of op."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpq_tfmot.keras import tf

WEIGHTED = ("conv1d", "conv2d", "depthwise_conv1d", "depthwise_conv2d", "conv_transpose2d", "linear")
OWN_GRID = ("input", *WEIGHTED, "add", "lookup")
"""Ops whose output has a grid of its own; every other op computes on the grid of its input."""
ALIASES = ("relu", "reshape")
"""Ops that need no buffer of their own: what they return belongs to the site of their input."""
FLOAT = "float"

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Op:
    """One op of a canonical model.

    name: of the Keras layer, with those of the nested models around it ("block.conv"); unique.
    kind: an op word of Target.ops, "lookup" for a function of one element, "float" for what stays float.
    inputs: names of the ops whose outputs it reads. shape: of its output for one sample.
    weight: float64, as Keras lays it out (convolution [kh, kw, in, out], depthwise [kh, kw, in, multiplier],
        transposed [kh, kw, out, in], dense [in, out]; one-dimensional ones without kh).
    bias: float64 [out]. low, high: bounds of a fused or own clamp; None for none.
    options: what else the op needs (strides, padding, dilation, pool, axis, ...).
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    shape: tuple[int, ...]
    weight: Array | None = None
    bias: Array | None = None
    low: float | None = None
    high: float | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def weighted(self) -> bool:
        """Whether the op multiplies with a weight."""
        return self.kind in WEIGHTED

    @property
    def word(self) -> str:
        """The op word that a target knows it by."""
        return str(self.options.get("word", self.kind))

    @property
    def weight_site(self) -> str:
        """Name of the site of the weight."""
        return f"{self.name}.weight"

    @property
    def channel_axis(self) -> int:
        """The axis of the output channels of the weight; a depthwise weight must have multiplier one to have one."""
        return -2 if self.kind.startswith("depthwise") or self.kind == "conv_transpose2d" else -1


def compute(op: Op, inputs: Sequence[Any]) -> Any:
    """The float output of any op but "input", clamped where the op clamps."""
    if op.weighted:
        x = inputs[0]
        return clamp(op, multiply(op, x, tf.cast(op.weight, x.dtype), tf.cast(op.bias, x.dtype)))
    return clamp(op, combine(op, inputs))


def clamp(op: Op, x: Any) -> Any:
    """The clamp that is fused into the op."""
    if op.low is not None:
        x = tf.maximum(x, tf.cast(op.low, x.dtype))
    return x if op.high is None else tf.minimum(x, tf.cast(op.high, x.dtype))


def multiply(op: Op, x: Any, weight: Any, bias: Any) -> Any:
    """The output of a weighted op before its clamp; bias may be None."""
    flat = op.kind.endswith("1d")
    if flat:
        x, weight = tf.expand_dims(x, 1), tf.expand_dims(weight, 0)
    strides, dilation = _two(op, "strides"), _two(op, "dilation")
    padding = str(op.options.get("padding", "valid")).upper()
    if op.kind == "linear":
        y = tf.linalg.matmul(x, weight) if len(x.shape) == 2 else tf.tensordot(x, weight, 1)
    elif op.kind.startswith("depthwise"):
        # the dilated kernel needs equal strides in both directions; a row of one has no stride of its own
        step = max(strides)
        y = tf.nn.depthwise_conv2d(x, weight, (1, step, step, 1), padding, dilations=dilation)
    elif op.kind == "conv_transpose2d":
        shape = tf.concat([tf.shape(x)[:1], op.shape], 0)
        y = tf.nn.conv2d_transpose(x, weight, shape, strides, padding)
    else:
        y = tf.nn.conv2d(x, weight, strides, padding, dilations=dilation)
    y = tf.squeeze(y, 1) if flat else y
    return y if bias is None else y + bias


def combine(op: Op, inputs: Sequence[Any]) -> Any:
    """The output of an op without a weight, before its clamp."""
    x = inputs[0]
    options = op.options
    if op.kind == "add":
        total = inputs[0]
        for other in inputs[1:]:
            total = total + other
        return total
    if op.kind == "concat":
        return tf.concat(inputs, options["axis"])
    if op.kind in ("lookup", FLOAT):
        return options["function"](*inputs)
    if op.kind == "relu":
        return x
    if op.kind == "max_pool":
        return _pooled(tf.nn.max_pool2d, op, x)
    if op.kind == "avg_pool":
        return _pooled(tf.nn.avg_pool2d, op, x)
    if op.kind == "global_avg_pool":
        return tf.reduce_mean(x, options["axes"], keepdims=options["keepdims"])
    if op.kind == "pad":
        return tf.pad(x, [(0, 0), *options["paddings"]])
    return move(op, x)


def move(op: Op, x: Any) -> Any:
    """The output of an op that only moves elements."""
    if "permutation" in op.options:
        return tf.transpose(x, op.options["permutation"])
    if "repeats" in op.options:
        for axis, times in enumerate(op.options["repeats"], start=1):
            x = tf.repeat(x, times, axis)
        return x
    return tf.reshape(x, (-1, *op.shape))


def _two(op: Op, name: str) -> tuple[int, int]:
    value = tuple(op.options.get(name, (1, 1)))
    return (1, value[0]) if len(value) == 1 else (value[0], value[1])


def _pooled(function: Any, op: Op, x: Any) -> Any:
    flat = len(op.shape) == 2
    x = tf.expand_dims(x, 1) if flat else x
    y = function(x, _two(op, "pool"), _two(op, "strides"), str(op.options["padding"]).upper())
    return tf.squeeze(y, 1) if flat else y

"""Records that a model has no layer of its own for, as layers of Keras and functions of TensorFlow."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mpq_plugins.graph.node import Node
from mpq_tfmot.keras import keras, tf

WRITTEN = ("slice", "reshape", "transpose", "concat", "pad", "max_pool", "global_avg_pool", "upsample", "clamp")
"""Records that are written as they are, where no layer of the model's stands for one alone."""


def clamp_layer(low: float | None, high: float | None, name: str) -> Any:
    """A clamp: a ReLU where it begins at zero, else a function."""
    if low == 0:
        return keras.layers.ReLU(high, name=name)
    if low is None:
        return lambda x: _function(tf.minimum, name)(x, high)
    if high is None:
        return lambda x: _function(tf.maximum, name)(x, low)
    return lambda x: _function(tf.clip_by_value, name)(x, low, high)


def _function(function: Any, name: str) -> Any:
    """A function of TensorFlow as a layer of a name."""
    return type(_example_call())(function, name=name)


def written(node: Node) -> Callable[[Any], Any] | None:
    """The layer of a record, by the node's name; None for one that is written otherwise."""
    a, layers = node.attrs, keras.layers
    if node.op == "reshape":
        return layers.Reshape(node.sample_shape, name=node.name)
    if node.op == "transpose":
        return layers.Permute(a["order"][1:], name=node.name)
    if node.op == "concat":
        return layers.Concatenate(a["axis"], name=node.name)
    if node.op == "pad":
        return lambda x: _function(tf.pad, node.name)(x, [list(sides) for sides in a["pads"]])
    if node.op == "global_avg_pool":
        return lambda x: _function(tf.reduce_mean, node.name)(x, list(a["axes"]), a["keepdims"])
    if node.op == "leaky_relu":
        return layers.LeakyReLU(a["slope"], name=node.name)
    if node.op == "upsample":
        size = a["times"][1:-1]
        up = layers.UpSampling2D(size, name=node.name)
        return up if len(size) == 2 else layers.UpSampling1D(*size, name=node.name)
    if node.op == "max_pool":
        pool = (layers.MaxPooling1D, layers.MaxPooling2D)[len(a["kernel"]) - 1]
        assert not any(side for sides in a["padding"] for side in sides), f"{node.name}: pads"
        return pool(a["kernel"], a["stride"], name=node.name)
    if node.op != "slice":
        return None
    masks = [
        sum(1 << axis for axis, bound in enumerate(bounds) if open_(axis, bound))
        for bounds, open_ in (
            (a["starts"], lambda axis, start: start == 0 and a["steps"][axis] > 0),
            (a["stops"], lambda axis, stop: stop is None),
        )
    ]
    ends = [stop or 0 for stop in a["stops"]]
    return lambda x: _function(tf.strided_slice, node.name)(
        x, list(a["starts"]), ends, list(a["steps"]), begin_mask=masks[0], end_mask=masks[1]
    )


def _example_call() -> Any:
    """A function layer of Keras, whose class it does not export."""
    return tf.expand_dims(keras.Input((1,)), 1).node.layer

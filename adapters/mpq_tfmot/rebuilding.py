"""A canonical model as a tf_keras model again: batch norms folded, every op a layer of its own name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mpq_tfmot.canonical import CanonicalModel
from mpq_tfmot.canonical_ops import Op
from mpq_tfmot.keras import keras
from mpq_tfmot.layers import BATCH_NORM

CLAMP_SUFFIX = ".relu"


def rebuild(model: CanonicalModel, name: str = "on_grid", after_input: Callable[[Op, Any], Any] | None = None) -> Any:
    """A functional tf_keras model that computes what the canonical model computes in float.

    after_input: called with each input op and its tensor; what it returns goes on.
    Canonicalizing the model gives the same ops again.
    """
    tensors: dict[str, Any] = {}
    inputs = []
    for op in model.ops:
        if op.kind == "input":
            inputs.append(keras.Input(op.shape, name=op.name))
            tensors[op.name] = inputs[-1] if after_input is None else after_input(op, inputs[-1])
            continue
        tensors[op.name] = _called(op, [tensors[source] for source in op.inputs])
    outputs = [tensors[output] for output in model.outputs]
    built = keras.Model(inputs, outputs[0] if len(outputs) == 1 else outputs, name=name)
    for op in model.layers:
        layer = built.get_layer(op.name)
        layer.set_weights([op.weight.astype(np.float32), op.bias.astype(np.float32)])
    for op in model.ops:
        if op.kind == BATCH_NORM:
            built.get_layer(op.name).set_weights(op.options["weights"])
    return built


def _called(op: Op, tensors: list[Any]) -> Any:
    x = tensors[0] if len(tensors) == 1 else tensors
    if not op.weighted:
        made = op.options.get("rebuild")
        y = _plain(op)(x) if made is None else made(tensors)
        if op.kind == "relu":
            return y
    else:
        y = _weighted(op)(x)
    return y if op.low is None else keras.layers.ReLU(op.high, name=f"{op.name}{CLAMP_SUFFIX}")(y)


def _weighted(op: Op) -> Any:
    layers = keras.layers
    if op.kind == "linear":
        return layers.Dense(op.weight.shape[-1], name=op.name)
    options = {
        "strides": op.options.get("strides", 1),
        "padding": op.options.get("padding", "valid"),
        "name": op.name,
    }
    kernel = op.weight.shape[: len(op.weight.shape) - 2]
    if op.kind == "conv_transpose2d":
        return layers.Conv2DTranspose(op.weight.shape[-2], kernel, **options)
    options["dilation_rate"] = op.options.get("dilation", 1)
    if op.kind == "depthwise_conv2d":
        return layers.DepthwiseConv2D(kernel, **options)
    if op.kind == "depthwise_conv1d":
        return layers.DepthwiseConv1D(kernel[0], **options)
    made = layers.Conv1D if op.kind == "conv1d" else layers.Conv2D
    return made(op.weight.shape[-1], kernel, **options)


def _plain(op: Op) -> Any:
    layers = keras.layers
    if op.kind == "add":
        return layers.Add(name=op.name)
    if op.kind == "relu":
        return layers.ReLU(op.high, name=op.name)
    return layers.Activation(op.options["function"], name=op.name)

"""A graph as a functional tf_keras model again: batch norms folded, every node a layer of its own name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from mpq_plugins.graph.node import ARGUMENT, BATCH_NORM, FLOAT, INPUT, Graph, Node
from mpq_plugins.graph.ops import op_of
from mpq_plugins.graph.weights import as_framework
from mpq_plugins.graph.windows import same_padding
from mpq_tfmot.keras import keras
from mpq_tfmot.reader.moving import written
from mpq_tfmot.reader.reading import Reading

CLAMP_SUFFIX = ".relu"


def write_model(reading: Reading, name: str = "on_grid", after_input: Callable[[Node, Any], Any] | None = None) -> Any:
    """The model that computes what the graph computes in float.

    after_input: called with each "input" node and its tensor; what it returns goes on.
    Reading the model gives the same graph again.
    """
    writer = _Writer(reading, after_input)
    return writer.write(name)


class _Writer:
    def __init__(self, reading: Reading, after_input: Callable[[Node, Any], Any] | None) -> None:
        self.reading = reading
        self.after_input = after_input
        self.layers: dict[str, Any] = {}

    def write(self, name: str) -> Any:
        graph = self.reading.graph
        tensors: dict[str, Any] = {}
        inputs = []
        for node in graph.nodes:
            if node.op == ARGUMENT:
                inputs.append(keras.Input(node.sample_shape, name=node.name))
                tensors[node.name] = inputs[-1]
            else:
                tensors[node.name] = self._called(node, [tensors[source] for source in node.inputs])
        outputs = [tensors[output] for output in graph.outputs]
        built = keras.Model(inputs, outputs[0] if len(outputs) == 1 else outputs, name=name)
        for node in graph.layers:
            weights = [as_framework(node, graph.layout), node.biases]
            built.get_layer(node.layer or node.name).set_weights([np.asarray(w, np.float32) for w in weights])
        for node in graph.nodes:
            if node.op == BATCH_NORM:
                built.get_layer(node.name).set_weights(self.reading.norm_weights[node.name])
        return built

    def _called(self, node: Node, tensors: list[Any]) -> Any:
        if node.op == INPUT:
            return tensors[0] if self.after_input is None else self.after_input(node, tensors[0])
        was = node.attrs.get("was")
        if node.op == FLOAT and was is not None:
            return self._called(was, tensors)
        if node.weighted:
            owner = node.layer or node.name
            if owner not in self.layers:
                self.layers[owner] = _layer(node, self.reading.graph)
            y = self.layers[owner](tensors[0])
        else:
            made = self.reading.again.get(node.name)
            y = _unweighted(node)(tensors if len(tensors) > 1 else tensors[0]) if made is None else made(tensors)
            if node.op == "clamp":
                return y
        return y if node.low is None else keras.layers.ReLU(node.high, name=f"{node.name}{CLAMP_SUFFIX}")(y)


def _layer(node: Node, graph: Graph) -> Any:
    layers, name = keras.layers, node.layer or node.name
    weight = as_framework(node, graph.layout)
    if node.op == "linear":
        return layers.Dense(weight.shape[-1], name=name)
    kernel = weight.shape[: len(weight.shape) - 2]
    padding = "same" if padded_same(node, graph[node.inputs[0]].sample_shape) else "valid"
    options: dict[str, Any] = {"strides": node.attrs["stride"], "padding": padding, "name": name}
    if node.op == "conv_transpose2d":
        return layers.Conv2DTranspose(weight.shape[-2], kernel, **options)
    options["dilation_rate"] = node.attrs["dilation"]
    if node.op == "depthwise_conv2d":
        return layers.DepthwiseConv2D(kernel, **options)
    if node.op == "depthwise_conv1d":
        return layers.DepthwiseConv1D(kernel[0], **options)
    made = layers.Conv1D if node.op == "conv1d" else layers.Conv2D
    return made(weight.shape[-1], kernel, **options)


def padded_same(node: Node, in_shape: tuple[int, ...]) -> bool:
    """Whether the padding of a convolution or pooling is what "same" stands for, and no "valid"; Keras knows no other.

    in_shape: of the input for one sample, channels last.
    """
    a, inside = node.attrs, in_shape[:-1]
    padding = a["padding"]
    if node.op.startswith("conv_transpose"):
        assert node.weight is not None
        outside = [n * s for n, s in zip(inside, a["stride"], strict=True)]
        return tuple(node.sample_shape[:-1]) == tuple(outside) and any(before or after > 0 for before, after in padding)
    if not any(side for sides in padding for side in sides):
        return False
    kernel = a["kernel"] if node.weight is None else node.weight.shape[2:]
    dilation = a.get("dilation", (1,) * len(kernel))
    each = zip(inside, kernel, a["stride"], dilation, strict=True)
    assert padding == tuple(same_padding(*sizes) for sizes in each), f"{node.name}: padding {padding} is none of Keras'"
    return True


def _unweighted(node: Node) -> Any:
    layers = keras.layers
    op = op_of(node)
    spelled = op.spellings.get("keras", ())
    if op.arity == 2:
        return getattr(layers, spelled[0])(name=node.name)
    if op.table:
        return layers.Activation(spelled[0], name=node.name)
    moves = written(node)
    if moves is not None:
        return moves
    assert node.op == "clamp", node.op
    return layers.ReLU(node.high, name=node.name)


def with_graph(reading: Reading, graph: Graph) -> Reading:
    """The same reading with another graph of the same nodes."""
    return replace(reading, graph=graph)

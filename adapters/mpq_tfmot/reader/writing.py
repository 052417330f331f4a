"""A graph as a functional tf_keras model again: batch norms folded, every node a layer of its own name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from mpq_plugins.graph.constants import AFFINE
from mpq_plugins.graph.node import ARGUMENT, BATCH_NORM, CONSTANT, FLOAT, INPUT, Batch, Graph, Node
from mpq_plugins.graph.ops import op_of
from mpq_plugins.graph.weights import as_framework
from mpq_plugins.graph.windows import same_padding
from mpq_tfmot.keras import keras, tf
from mpq_tfmot.reader.reading import Reading
from mpq_tfmot.reader.written_functions import written_function
from mpq_tfmot.reader.written_layers import JoinedReshape, OwnTensor, clamp_layer, written

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
        self.first: Any = None

    def write(self, name: str) -> Any:
        graph = self.reading.graph
        tensors: dict[str, Any] = {}
        for node in graph.nodes:
            if node.op == ARGUMENT:
                looked_up = all(reader.op == FLOAT for reader in graph.readers(node.name))
                kind = {"dtype": node.attrs["dtype"]} if looked_up else {}
                tensors[node.name] = keras.Input(node.sample_shape, name=node.name, **kind)
                self.first = tensors[node.name] if self.first is None else self.first
            else:
                tensors[node.name] = self._called(node, [tensors[source] for source in node.inputs])
        inputs = tf.nest.map_structure(lambda argument: tensors[argument], self.reading.taken)
        outputs = tf.nest.map_structure(lambda index: tensors[graph.outputs[index]], self.reading.returned)
        built = keras.Model(inputs, outputs, name=name)
        built.output_names = list(self.reading.output_names)  # the layers may be called after functions in them
        was = [node.attrs["was"] for node in graph.nodes if node.op == FLOAT and "was" in node.attrs]
        for node in (*graph.layers, *(node for node in was if node.weighted)):
            weights = [as_framework(node, graph.layout), node.biases]
            built.get_layer(node.layer or node.name).set_weights([np.asarray(w, np.float32) for w in weights])
        for node in graph.nodes:
            if node.op == CONSTANT:
                built.get_layer(node.name).set_weights([node.attrs["value"]])
            elif node.op == BATCH_NORM:
                _set_statistics(built.get_layer(node.name), node)
            elif node.op == FLOAT and node.name in self.reading.own_weights:
                built.get_layer(node.name).set_weights(self.reading.own_weights[node.name])
        return built

    def _called(self, node: Node, tensors: list[Any]) -> Any:
        if node.op == CONSTANT:
            return OwnTensor(node.attrs["value"].shape, name=node.name)(self.first)
        if node.op == INPUT:
            return tensors[0] if self.after_input is None else self.after_input(node, tensors[0])
        if node.op == "reshape" and self.reading.graph[node.inputs[0]].shape[:1] != node.shape[:1]:
            return JoinedReshape(node.shape[1:], name=node.name)(tensors[0])
        was = node.attrs.get("was")
        if node.op == FLOAT and was is not None:
            # a fused clamp that it read has another name
            return self._called(replace(was, inputs=node.inputs), tensors)
        if node.weighted:
            owner = node.layer or node.name
            if owner not in self.layers:
                self.layers[owner] = _layer(node, self.reading.graph)
            y = self.layers[owner](tensors[0])
        else:
            made = self.reading.again.get(node.name)
            if made is not None and node.op == BATCH_NORM and "fused" in node.attrs:
                made = partial(made, scale=True, center=True)
            y = _unweighted(node)(tensors if len(tensors) > 1 else tensors[0]) if made is None else made(tensors)
            if node.op == "clamp":
                return y
        bare = node.low is None and node.high is None
        return y if bare else clamp_layer(node.low, node.high, f"{node.name}{CLAMP_SUFFIX}")(y)


def _layer(node: Node, graph: Graph) -> Any:
    layers, name = keras.layers, node.layer or node.name
    weight = as_framework(node, graph.layout)
    if node.op == "linear":
        return layers.Dense(weight.shape[-1], name=name)
    kernel = weight.shape[: len(weight.shape) - 2]
    inside = tuple(size for size in graph[node.inputs[0]].shape[1:] if not isinstance(size, Batch))
    padding = _padding(node, inside)
    options: dict[str, Any] = {"strides": node.attrs["stride"], "padding": padding, "name": name}
    options["dilation_rate"] = node.attrs["dilation"]
    if node.op.startswith("conv_transpose"):
        transposed = (layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose)[len(kernel) - 1]
        extra = _output_padding(node, inside, padding)
        options["output_padding"] = extra if extra is None or len(extra) > 1 else extra[0]
        return transposed(weight.shape[-2], kernel, **options)
    if node.op == "depthwise_conv2d":
        return layers.DepthwiseConv2D(kernel, depth_multiplier=weight.shape[-1], **options)
    if node.op == "depthwise_conv1d":
        return layers.DepthwiseConv1D(kernel[0], depth_multiplier=weight.shape[-1], **options)
    options["groups"] = int(node.attrs["groups"])
    made = {"conv1d": layers.Conv1D, "conv3d": layers.Conv3D}.get(node.op, layers.Conv2D)
    return made(weight.shape[-1], kernel, **options)


def _output_padding(node: Node, in_shape: tuple[int, ...], padding: str) -> tuple[int, ...] | None:
    """What Keras adds to the output of a transposed convolution; None where it has the size that it has by itself."""
    assert node.weight is not None
    found, plain = [], True
    dims = node.weight.ndim - 2
    sizes = (in_shape, node.attrs["stride"], node.attrs["dilation"], node.weight.shape[2:], node.sample_shape)
    for n, stride, dilation, kernel, out in zip(*(each[:dims] for each in sizes), strict=True):
        reach = dilation * (kernel - 1) + 1
        own = n * stride if padding == "same" else n * stride + max(reach - stride, 0)
        whole = (n - 1) * stride + reach - (2 * (reach // 2) if padding == "same" else 0)
        plain = plain and own == out
        found.append(out - whole)
    return None if plain else tuple(found)


def _padding(node: Node, in_shape: tuple[int, ...]) -> str:
    """What Keras calls the padding of a layer."""
    if node.op == "conv1d" and node.weight is not None:
        (before, after), (dilation,) = node.attrs["padding"][0], node.attrs["dilation"]
        if before == dilation * (node.weight.shape[2] - 1) > 0 == after:
            return "causal"
    return "same" if padded_same(node, in_shape) else "valid"


def _set_statistics(layer: Any, node: Node) -> None:
    keys = [*["gamma"] * layer.scale, *["beta"] * layer.center, "mean", "variance"]
    layer.set_weights([np.asarray(node.attrs[key], np.float32) for key in keys])


def padded_same(node: Node, in_shape: tuple[int, ...]) -> bool:
    """Whether the padding of a convolution or pooling is what "same" stands for, and no "valid"; Keras knows no other.

    in_shape: of the input for one sample, channels last.
    """
    a, inside = node.attrs, in_shape[:-1]
    padding = a["padding"]
    if node.op.startswith("conv_transpose"):
        assert node.weight is not None
        return any(before > 0 for before, _ in padding) or (
            any(after > 0 for _, after in padding)
            and list(node.sample_shape[:-1]) == [n * s for n, s in zip(inside, a["stride"], strict=True)]
        )
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
    if op.arity == 2 and spelled:
        return getattr(layers, spelled[0])(name=node.name)
    if node.op == AFFINE:
        return layers.Rescaling(*(np.asarray(node.attrs[key]).tolist() for key in ("scale", "offset")), name=node.name)
    made = written(node)
    if made is not None:
        return made
    if op.table:
        return written_function(node)
    assert node.op == "clamp", node.op
    return clamp_layer(node.low, node.high, node.name)


def with_graph(reading: Reading, graph: Graph) -> Reading:
    """The same reading with another graph of the same nodes."""
    return replace(reading, graph=graph)

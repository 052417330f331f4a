"""Batch norms that follow no layer: part of the linear layers behind them, or depthwise convolutions of one element."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from mpq_plugins.graph.folded_norms import fold_batch_norm
from mpq_plugins.graph.node import ARGUMENT, BATCH_NORM, Array, Graph, Node, Shape, Weight


def into_readers(graph: Graph, norm: Node) -> Graph | None:
    """The graph with a norm folded into the layers that read it; None where that is not possible.

    Of features into linear layers; of what the model is given (its normalization) into convolutions too, which may pad
    only where zero stays zero. ``W (x s + t) + b = (W s) x + (W t + b)``: exact, and nothing in between is rounded.
    """
    readers = graph.readers(norm.name)
    calls = [node.weight_site for node in graph.layers]
    entering = graph[norm.inputs[0]].op == ARGUMENT
    if not (len(norm.shape) == 2 or entering) or norm.name in graph.outputs or not readers:
        return None
    if any(not _takes(graph, norm, reader) or calls.count(reader.weight_site) > 1 for reader in readers):
        return None
    without = graph.with_nodes([_after(norm, reader) for reader in readers])
    kept = tuple(node for node in without.nodes if node.name != norm.name)
    return replace(graph, nodes=kept)


def as_depthwise(graph: Graph, norm: Node) -> Graph | None:
    """The graph with a norm of images or signals, of features or volumes, as a depthwise convolution; None for other
    axes."""
    channels_second = graph.layout == "NCHW"
    rank = len(norm.shape)
    if norm.attrs["axis"] != (1 if channels_second else rank - 1) or rank < 2:
        return None
    if rank in (3, 4):
        return graph.with_nodes([_convolution(norm, rank - 2, norm.inputs, norm.shape)])
    batch, channels = norm.shape[0], norm.shape[norm.attrs["axis"]]
    row = [size for size in norm.shape[1:] if isinstance(size, int)]  # several of them may make a sample
    places = math.prod(row) // len(norm.attrs["mean"])
    shape = (batch, channels, places) if channels_second else (batch, places, channels)
    there = Node(f"{norm.name}{SIGNAL_SUFFIX}", "reshape", norm.inputs, shape)
    made = _convolution(norm, 1, (there.name,), shape)
    back = Node(f"{norm.name}{FEATURES_SUFFIX}", "reshape", (norm.name,), norm.shape)
    nodes: list[Node] = []
    for node in graph.nodes:
        if node.name == norm.name:
            nodes += [there, made, back]
        else:
            nodes.append(replace(node, inputs=tuple(back.name if name == norm.name else name for name in node.inputs)))
    outputs = tuple(back.name if name == norm.name else name for name in graph.outputs)
    return replace(graph, nodes=tuple(nodes), outputs=outputs)


SIGNAL_SUFFIX, FEATURES_SUFFIX = "__signal", "__features"
"""What the names of the reshapes around a norm of features have behind its own."""


def folded_weight(weight: Weight, bias: Array | None, norm: Node) -> tuple[Weight, Array]:
    """The weight and bias of a layer with a norm behind it, in float64, then as the float32 of a framework's layer."""
    a = norm.attrs
    folded = fold_batch_norm(weight, bias, a["gamma"], a["beta"], a["mean"], a["variance"], a["epsilon"])
    return single(folded[0]), float32(folded[1])


def _convolution(norm: Node, dims: int, inputs: tuple[str, ...], shape: Shape) -> Node:
    channels = len(norm.attrs["mean"])
    assert norm.op == BATCH_NORM
    weight, bias = folded_weight(np.ones((channels, 1, *(1,) * dims)), None, norm)
    attrs = {**at_one_position(dims), "groups": channels}
    op = f"depthwise_conv{dims}d"
    return replace(norm, op=op, inputs=inputs, shape=shape, weight=weight, bias=bias, attrs=attrs)


def at_one_position(dims: int) -> dict[str, Any]:
    """The geometry of a convolution that looks at one position, over so many spatial axes."""
    return {"stride": (1,) * dims, "padding": ((0, 0),) * dims, "dilation": (1,) * dims}


def _takes(graph: Graph, norm: Node, layer: Node) -> bool:
    """Whether a layer multiplies what a norm puts out, channel by channel, with its weight and nothing else."""
    axis, last = norm.attrs["axis"], len(norm.shape) - 1
    if layer.op == "linear":
        return bool(axis == last)
    if layer.op not in ("conv1d", "conv2d", "depthwise_conv1d", "depthwise_conv2d"):
        return False
    padded = any(side for sides in layer.attrs["padding"] for side in sides)
    return axis == (1 if graph.layout == "NCHW" else last) and not (padded and np.any(_scale_and_shift(norm)[1]))


def _scale_and_shift(norm: Node) -> tuple[Array, Array]:
    a = norm.attrs
    ones = np.ones((len(a["mean"]), 1))  # of the identity: the scale on its diagonal, the shift as its bias
    scale, shift = fold_batch_norm(ones, None, a["gamma"], a["beta"], a["mean"], a["variance"], a["epsilon"])
    return scale[:, 0], shift


def _after(norm: Node, layer: Node) -> Node:
    assert layer.weight is not None
    scale, shift = _scale_and_shift(norm)
    groups = int(layer.attrs.get("groups", 1))
    # by the input channels of each output's group: [out, in / groups, ...]
    inside = [np.repeat(v.reshape(groups, -1), len(layer.weight) // groups, axis=0) for v in (scale, shift)]
    scales, shifts = (v.reshape(*v.shape, *(1,) * (layer.weight.ndim - 2)) for v in inside)
    bias = layer.biases + (layer.weight * shifts).reshape(len(layer.weight), -1).sum(axis=1)
    attrs = {**layer.attrs, "fused_before": (*layer.attrs.get("fused_before", ()), norm.name)}
    return replace(layer, inputs=norm.inputs, weight=single(layer.weight * scales), bias=float32(bias), attrs=attrs)


def single(values: Weight) -> Weight:
    """The float32 values next to others, as a framework's layer holds its weight."""
    return np.asarray(values, dtype=np.float32)


def float32(values: Array) -> Array:
    """The same held in float64, as a Node has its bias."""
    return single(values).astype(np.float64)

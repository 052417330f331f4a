"""Batch norms that follow no layer: part of the linear layers behind them, or depthwise convolutions of one element."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mpq_plugins.folding import fold_batch_norm
from mpq_plugins.graph.node import BATCH_NORM, Array, Graph, Node, Shape


def into_readers(graph: Graph, norm: Node) -> Graph | None:
    """The graph with a norm of features folded into the linear layers that read it; None where that is not possible.

    ``W (x s + t) + b = (W s) x + (W t + b)``: exact, with no tensor in between to be rounded.
    """
    readers = graph.readers(norm.name)
    calls = [node.weight_site for node in graph.layers]
    if len(norm.shape) != 2 or norm.name in graph.outputs or not readers:
        return None
    if any(reader.op != "linear" or calls.count(reader.weight_site) > 1 for reader in readers):
        return None
    without = graph.with_nodes([_after(norm, reader) for reader in readers])
    kept = tuple(node for node in without.nodes if node.name != norm.name)
    return Graph(kept, graph.outputs, graph.layout)


def as_depthwise(graph: Graph, norm: Node) -> Graph | None:
    """The graph with a norm of images or signals, or of features, as a depthwise convolution; None for other axes."""
    channels_second = graph.layout == "NCHW"
    rank = len(norm.shape)
    if norm.attrs["axis"] != (1 if channels_second else rank - 1) or rank not in (2, 3, 4):
        return None
    if rank > 2:
        return graph.with_nodes([_convolution(norm, rank - 2, norm.inputs, norm.shape)])
    batch, channels = norm.shape
    shape = (batch, channels, 1) if channels_second else (batch, 1, channels)
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
    return Graph(tuple(nodes), outputs, graph.layout)


SIGNAL_SUFFIX, FEATURES_SUFFIX = "__signal", "__features"
"""What the names of the reshapes around a norm of features have behind its own."""


def folded_weight(weight: Array, bias: Array | None, norm: Node) -> tuple[Array, Array]:
    """The weight and bias of a layer with a norm behind it, in float64, then as the float32 of a framework's layer."""
    a = norm.attrs
    folded = fold_batch_norm(weight, bias, a["gamma"], a["beta"], a["mean"], a["variance"], a["epsilon"])
    return _float32(folded[0]), _float32(folded[1])


def _convolution(norm: Node, dims: int, inputs: tuple[str, ...], shape: Shape) -> Node:
    channels = len(norm.attrs["mean"])
    assert norm.op == BATCH_NORM
    weight, bias = folded_weight(np.ones((channels, 1, *(1,) * dims)), None, norm)
    geometry = {"stride": (1,) * dims, "padding": ((0, 0),) * dims, "dilation": (1,) * dims, "groups": channels}
    op = f"depthwise_conv{dims}d"
    return replace(norm, op=op, inputs=inputs, shape=shape, weight=weight, bias=bias, attrs=geometry)


def _after(norm: Node, linear: Node) -> Node:
    assert linear.weight is not None
    a = norm.attrs
    # of the identity: scale on the diagonal, shift as the bias
    scale, shift = fold_batch_norm(
        np.ones((len(a["mean"]), 1)), None, a["gamma"], a["beta"], a["mean"], a["variance"], a["epsilon"]
    )
    weight, bias = linear.weight * scale[:, 0], linear.biases + linear.weight @ shift
    attrs = {**linear.attrs, "fused_before": (*linear.attrs.get("fused_before", ()), norm.name)}
    return replace(linear, inputs=norm.inputs, weight=_float32(weight), bias=_float32(bias), attrs=attrs)


def _float32(values: Array) -> Array:
    return np.asarray(values, dtype=np.float32).astype(np.float64)

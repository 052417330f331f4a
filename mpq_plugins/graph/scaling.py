"""Where a constant that scales or shifts an activation goes: into a layer or a batch norm, a table, or a layer of its
own.

In this order, the first that is exact in real arithmetic:
1. two behind one another are one;
2. the layer or batch norm before it, if nobody else reads that: weight and bias, or gamma and beta. A positive factor
   passes a clamp between them, whose bounds it scales, and everything passes an order of axes;
3. the layers behind it, if they alone read it: a factor always, through zero padding too, and a number through what
   moves or averages elements, a shift where the layer pads nothing;
4. along the channels, a depthwise convolution of one position, as a batch norm that follows no layer;
5. a number is a function of one element: a table, where the target runs tables; else a depthwise convolution too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mpq_plugins.graph.constants import AFFINE, Factor, chained
from mpq_plugins.graph.folding import channel_axis_of, reader_counts, with_fused
from mpq_plugins.graph.lonely_norms import at_one_position, float32, single
from mpq_plugins.graph.node import BATCH_NORM, Array, Batch, Graph, Layout, Node, Shape, Weight, merged
from mpq_plugins.graph.ops import op_of
from mpq_plugins.graph.weights import groups_of

PASSED_BY_NUMBERS = ("reshape", "transpose", "slice", "upsample", "nearest", "avg_pool", "global_avg_pool")
"""Ops before which a factor may stand as well as behind them."""


def fold_into_layers_before(graph: Graph) -> Graph:
    """Rules 1 and 2, for every "affine" in the order of execution."""
    for name in [node.name for node in graph.nodes if node.op == AFFINE]:
        node = graph[name]
        before, moved = _before_orders(graph, node)
        clamp = before if before.op == "clamp" and _passes(node) and _read_once(graph, before) else None
        source = before if clamp is None else graph[clamp.inputs[0]]
        taken = _taken_along(graph, source, moved)
        if taken is None:
            continue
        graph = merged(graph, node, taken if before is source and before.name in node.inputs else graph[node.inputs[0]])
        graph = graph.with_nodes([taken] if clamp is None else [taken, _scaled_clamp(clamp, node)])
    return graph


def _before_orders(graph: Graph, node: Node) -> tuple[Node, Node]:
    """What computes the values that an "affine" scales, in front of orders of axes that it alone reads; and the
    "affine" as it would be there."""
    axis, before = node.attrs.get("axis"), graph[node.inputs[0]]
    while before.op == "transpose" and _read_once(graph, before):
        axis = None if axis is None else before.attrs["order"][axis]
        before = graph[before.inputs[0]]
    attrs = node.attrs if axis is None else {**node.attrs, "axis": axis}
    return before, replace(node, shape=before.shape, attrs=attrs)


def fold_into_layers_behind(graph: Graph) -> Graph:
    """Rule 3, for every "affine" that is left, the last first: another one may stand between it and the layers."""
    for name in [node.name for node in reversed(graph.nodes) if node.op == AFFINE]:
        node = graph[name]
        last, padded = node, False
        while (reader := _only_reader(graph, last)) is not None and _lets_through(reader, node):
            last, padded = reader, padded or reader.op == "pad"
        taken = _taken_by_all(graph, last, node, padded)
        if taken:
            graph = merged(graph.with_nodes(taken), node, graph[node.inputs[0]])
    return graph


def _taken_by_all(graph: Graph, last: Node, node: Node, padded: bool) -> list[Node]:
    """All layers that read the values of an "affine", from ``last`` behind it, doing its work too; none where one of
    the readers cannot. padded: there is padding between."""
    if last.name in graph.outputs:
        return []
    taken = [_taken_before(graph, reader, node, padded) for reader in graph.readers(last.name)]
    return [] if None in taken else [layer for layer in taken if layer is not None]


def channels_as_layers(graph: Graph) -> Graph:
    """Rule 4, for every "affine" along an axis that is left."""
    return _rewritten(graph, lambda node: node.op == AFFINE and "axis" in node.attrs)


def numbers_as_layers(graph: Graph) -> Graph:
    """The other half of rule 5, for targets without tables."""
    return _rewritten(graph, lambda node: node.op == AFFINE)


def _lets_through(between: Node, node: Node) -> bool:
    """Whether an "affine" before an op is the same behind it: a factor before what moves elements or averages them."""
    if between.op == "reshape" and between.shape == node.shape:
        return between.low is None and between.high is None
    if np.any(node.attrs["offset"]) or between.low is not None or between.high is not None:
        return False
    return between.op == "pad" or ("axis" not in node.attrs and between.op in PASSED_BY_NUMBERS)


def _read_once(graph: Graph, node: Node) -> bool:
    return reader_counts(graph)[node.name] == 1


def _only_reader(graph: Graph, node: Node) -> Node | None:
    return graph.readers(node.name)[0] if graph.readers(node.name) and _read_once(graph, node) else None


def _passes(node: Node) -> bool:
    """Whether clamping behind the "affine" is clamping before it, with bounds that are scaled."""
    scale = node.attrs["scale"]
    return not np.any(node.attrs["offset"]) and isinstance(scale, float) and scale > 0


def _scaled_clamp(clamp: Node, node: Node) -> Node:
    scale = node.attrs["scale"]
    low, high = (None if bound is None else float(bound * scale) for bound in (clamp.low, clamp.high))
    return replace(clamp, low=low, high=high, attrs=with_fused(clamp, node))


def _taken_along(graph: Graph, source: Node, node: Node) -> Node | None:
    """What comes before an "affine", doing its work too; None where it cannot."""
    scale, offset, axis = node.attrs["scale"], node.attrs["offset"], node.attrs.get("axis")
    if not _read_once(graph, source) or source.low is not None or source.high is not None or not np.all(scale):
        return None
    attrs = with_fused(source, node)
    if source.op == AFFINE:
        if axis is not None and source.attrs.get("axis", axis) != axis:
            return None
        return replace(source, attrs={**attrs, **chained(source.attrs, node.attrs)})
    if source.op == BATCH_NORM and source.layer is None and not _shared(graph, source):
        if axis not in (None, source.attrs["axis"]):
            return None
        gamma, beta = (np.asarray(source.attrs[key]) * scale for key in ("gamma", "beta"))
        return replace(source, attrs={**attrs, "gamma": gamma, "beta": beta + offset})
    if not source.weighted or _shared(graph, source) or axis not in (None, channel_axis_of(graph, source)):
        return None
    assert source.weight is not None
    factors = np.broadcast_to(np.asarray(scale), len(source.weight))
    weight = source.weight * factors.reshape(-1, *(1,) * (source.weight.ndim - 1))
    bias = None if source.bias is None and not np.any(offset) else float32(source.biases * factors + offset)
    return replace(source, weight=single(weight), bias=bias, attrs=attrs)


def _shared(graph: Graph, node: Node) -> bool:
    """Whether the layer or norm is called again."""
    owner = node.layer or node.name
    return sum((other.layer or other.name) == owner for other in graph.nodes) > 1


def _taken_before(graph: Graph, layer: Node, node: Node, padded: bool) -> Node | None:
    """What alone reads an "affine", doing its work too; None where it cannot. padded: there is padding between."""
    scale, offset, axis = node.attrs["scale"], node.attrs["offset"], node.attrs.get("axis")
    if layer.op == "softmax" and axis is None and scale > 0:  # which takes no notice of a shift
        return replace(layer, attrs={**with_fused(layer, node), "scale": float(layer.attrs["scale"] * scale)})
    if not layer.weighted or _shared(graph, layer):
        return None
    source = graph[layer.inputs[0]]
    images = op_of(layer).images and graph.layout == "NCHW"
    if axis not in (None, 1 if images else len(source.shape) - 1):
        return None
    pads = layer.op != "linear" and any(side for sides in layer.attrs["padding"] for side in sides)
    if np.any(offset) and (pads or padded or layer.op.startswith("conv_transpose")):
        return None
    assert layer.weight is not None
    groups = groups_of(layer)
    weight = layer.weight.reshape(groups, -1, *layer.weight.shape[1:])
    moved = (weight * _by_group(offset, weight)).reshape(len(layer.weight), -1).sum(axis=1)
    scaled = (weight * _by_group(scale, weight)).reshape(layer.weight.shape)
    bias = None if layer.bias is None and not np.any(moved) else float32(layer.biases + moved)
    return replace(layer, weight=single(scaled), bias=bias, attrs=with_fused(layer, node))


def _by_group(values: Factor, weight: Weight) -> Array:
    """Values of input channels, shaped to broadcast against a weight [groups, out, in / groups, ...]."""
    groups, _, inputs = weight.shape[:3]
    spread = np.broadcast_to(np.asarray(values, np.float64), groups * inputs)
    return spread.reshape(groups, 1, inputs, *(1,) * (weight.ndim - 3))


def _rewritten(graph: Graph, chosen: Callable[[Node], bool]) -> Graph:
    nodes: list[Node] = []
    renamed: dict[str, str] = {}
    for node in graph.nodes:
        inputs = tuple(renamed.get(name, name) for name in node.inputs)
        node = node if inputs == node.inputs else replace(node, inputs=inputs)
        made = _as_layer(graph, node) if chosen(node) else [node]
        if made[-1].name != node.name:
            renamed[node.name] = made[-1].name
        nodes += made
    return replace(graph, nodes=tuple(nodes), outputs=tuple(renamed.get(name, name) for name in graph.outputs))


def _as_layer(graph: Graph, node: Node) -> list[Node]:
    """A depthwise convolution of one position, between reshapes where the tensor is no image.

    With channels second, a later axis that the constants lie along is first moved to the second place.
    """
    axis = node.attrs.get("axis")
    rank = len(node.shape)
    order = tuple(range(rank))
    if axis is not None and axis > 1 and graph.layout == "NCHW" and isinstance(node.shape[0], Batch):
        order = (0, axis, *(a for a in order[1:] if a != axis))
    moves = order != tuple(range(rank))
    moved = tuple(node.shape[a] for a in order)
    seen = _as_images(moved, 1 if moves else axis, graph.layout)
    steps = []
    if moves:
        steps.append(("moved", "transpose", moved, {"order": order}))
    if seen != moved:
        steps.append(("images", "reshape", seen, {}))
    made = _chained(node.name, node.inputs[0], steps)
    made.append(_depthwise(node, made[-1].name if made else node.inputs[0], seen, graph.layout))
    if seen != moved:
        made += _chained(node.name, node.name, [("reshaped", "reshape", moved, {})])
    if moves:
        back = {"order": tuple(order.index(a) for a in range(rank))}
        made += _chained(node.name, made[-1].name, [("back", "transpose", node.shape, back)])
    return made


def _chained(name: str, source: str, steps: Sequence[tuple[str, str, Shape, dict[str, Any]]]) -> list[Node]:
    """Nodes one behind another: suffix of the name, op, shape and attrs of each."""
    made: list[Node] = []
    for suffix, op, shape, attrs in steps:
        made.append(Node(f"{name}__{suffix}", op, (made[-1].name if made else source,), shape, attrs=attrs))
    return made


def _depthwise(node: Node, source: str, seen: Shape, layout: Layout) -> Node:
    channels = seen[1] if layout == "NCHW" else seen[3]
    assert isinstance(channels, int)
    scale, offset = (np.broadcast_to(np.asarray(node.attrs[key]), channels) for key in ("scale", "offset"))
    fused = {"fused": node.attrs["fused"]} if "fused" in node.attrs else {}
    weight, bias = single(scale).reshape(-1, 1, 1, 1), float32(offset) if np.any(offset) else None
    attrs = {**at_one_position(2), "groups": channels, **fused}
    return Node(node.name, "depthwise_conv2d", (source,), seen, weight, bias, attrs=attrs)


def _as_images(shape: Shape, axis: int | None, layout: Layout) -> Shape:
    """The shape of the same elements as images whose channels the constants lie along; one channel for a number.

    >>> _as_images((Batch(), 8, 5), 1, "NCHW"), _as_images((Batch(), 5, 8), 2, "NHWC")
    ((Batch(times=1), 8, 5, 1), (Batch(times=1), 5, 1, 8))
    """
    channel = 1 if layout == "NCHW" else len(shape) - 1
    if len(shape) == 4 and axis in (None, channel) and isinstance(shape[0], Batch) and not _batches(shape[1:]):
        return shape
    whole = isinstance(shape[0], Batch) and not _batches(shape[1:])
    batch: int | Batch = shape[0] if whole else Batch(_times(shape if axis is None else shape[:axis]))
    if axis is None:
        others = _times(shape[1:]) if whole else 1
        return (batch, 1, others, 1) if layout == "NCHW" else (batch, others, 1, 1)
    if layout == "NHWC":
        return (batch, _times(shape[1:axis]) if whole else 1, 1, shape[axis])
    return (batch, shape[axis], _times(shape[axis + 1 :]), 1)


def _batches(shape: Shape) -> bool:
    return any(isinstance(size, Batch) for size in shape)


def _times(shape: Shape) -> int:
    found = 1
    for size in shape:
        found *= size.times if isinstance(size, Batch) else size
    return found

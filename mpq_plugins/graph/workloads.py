"""The workloads of a graph: what each site makes a device do, from the nodes' geometry alone."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, field

from mpq_plugins.graph.node import CONSTANT, FLOAT, INPUT, RAW, Batch, Graph, Node
from mpq_plugins.graph.ops import op_of
from mpq_plugins.graph.sites import GraphSites
from mpq_plugins.graph.weights import as_framework
from mpq_plugins.graph.windows import inside, same_padding
from mpq_plugins.hardware.workload import ModelWork, Option, Workload

Shape = tuple[int, ...]
GEOMETRY = (
    "kernel", "stride", "padding", "overhang", "dilation", "counts_padding", "axes", "keepdims", "axis", "pads",
    "order", "times", "starts", "stops", "steps",
)  # fmt: skip
"""What of a node's attrs a device needs to make the op again; axes include the batch."""


def model_work(graph: Graph, sites: GraphSites, per_channel: Collection[str], batch: int = 1) -> ModelWork:
    """The workloads of one call with ``batch`` samples.

    per_channel: the weight sites that have a step per output channel.

    Ops with a weight have torch's layout, channels first, whatever the graph's; others have the graph's shapes, and
    the nodes' attrs as options. A tensor of few bits is clipped behind its op ("clip"; options: after, the op's word;
    bounds, 2 where codes below zero are clipped too; own, whether the op has a bound that every bit-width needs), a
    clamp by itself is "relu" or "clamp" (options: low, high, signed). Behind the integer part come "dequantize" and
    "float" (option: what).
    """
    walk = _Walk(graph, sites, per_channel, batch)
    for node in graph.nodes:
        if node.op not in RAW:
            walk.visit(node)
    return ModelWork(walk.weights, walk.activations, tuple(walk.ends()))


@dataclass(frozen=True)
class _Walk:
    graph: Graph
    sites: GraphSites
    per_channel: Collection[str]
    batch: int
    weights: dict[str, tuple[Workload, ...]] = field(default_factory=dict)
    activations: dict[str, tuple[Workload, ...]] = field(default_factory=dict)

    def visit(self, node: Node) -> None:
        op, site = op_of(node), self.sites.grid_of[node.name]
        signed = self.sites.inventory[site].signed
        if node.weighted:
            made = _layer(self.graph, node, node.weight_site in self.per_channel, self.batch)
            self.weights[node.weight_site] = self.weights.get(node.weight_site, ()) + (made,) * _times(node)
        elif node.op == "clamp":
            self._add(node, site, *_clamp(node, signed))
        else:
            self._add(node, site, op.target_word, _geometry(node))
        if op.grid == "own":
            own = node.high is not None or node.low not in (None, 0.0)
            clip = (("after", op.target_word), ("bounds", 2 if signed else 1), ("own", own))
            self._add(node, site, "clip", clip)

    def _add(self, node: Node, site: str, word: str, options: tuple[Option, ...]) -> None:
        shape = _sample(node)
        constant = node.op == INPUT and self.graph[node.inputs[0]].op == CONSTANT
        inputs = tuple(_sample(self.graph[name]) for name in node.inputs) if word != "clip" else (shape,)
        made = Workload(word, inputs, shape, batch=1 if constant else self.batch, options=options)
        self.activations[site] = self.activations.get(site, ()) + (made,) * _times(node)

    def ends(self) -> list[Workload]:
        """What comes behind the integer part."""
        read = [self.graph[name] for name in self.graph.integer_outputs]
        found = [self._end(node, "dequantize") for node in read if node.op != INPUT]
        floats = [node for node in self.graph.nodes if node.op == FLOAT]
        return found + [self._end(node, "float", (("what", str(node.attrs.get("what"))),)) for node in floats]

    def _end(self, node: Node, word: str, options: tuple[Option, ...] = ()) -> Workload:
        shape = _sample(node)
        return Workload(word, (shape,), shape, batch=self.batch, options=options)


def _times(node: Node) -> int:
    """How often one sample has the node's shape (windows of an image, for instance)."""
    return math.prod(size.times for size in node.shape if isinstance(size, Batch))


def _sample(node: Node) -> Shape:
    return tuple(size for size in node.shape if not isinstance(size, Batch))


def _geometry(node: Node) -> tuple[Option, ...]:
    return tuple((name, node.attrs[name]) for name in GEOMETRY if name in node.attrs)


def _clamp(node: Node, signed: bool) -> tuple[str, tuple[Option, ...]]:
    if node.low == 0.0 and node.high is None:
        return "relu", ()
    return "clamp", (("low", node.low), ("high", node.high), ("signed", signed))


def _layer(graph: Graph, node: Node, per_channel: bool, batch: int) -> Workload:
    source, a = graph[node.inputs[0]], node.attrs
    assert node.weight is not None
    word, weight = op_of(node).target_word, as_framework(node, "NCHW").shape
    if node.op == "linear":
        return Workload(word, (_sample(source),), _sample(node), weight, per_channel=per_channel, batch=batch)
    padding, options = _padding(graph, node)
    return Workload(
        word,
        (_channels_first(graph, source),),
        _channels_first(graph, node),
        weight,
        stride=a["stride"],
        padding=padding,
        dilation=a["dilation"],
        groups=a["groups"],
        per_channel=per_channel,
        batch=batch,
        options=options,
    )


def _channels_first(graph: Graph, node: Node) -> Shape:
    shape = _sample(node)
    return shape if graph.layout == "NCHW" else (shape[-1], *shape[:-1])


def _padding(graph: Graph, node: Node) -> tuple[Shape | str, tuple[Option, ...]]:
    """One number an axis where both sides are alike, and what a transposed convolution pads behind its output; else
    "same"; else both sides of each axis."""
    sides, stride, dilation = (node.attrs[name] for name in ("padding", "stride", "dilation"))
    first = tuple(before for before, _ in sides)
    if node.op.startswith("conv_transpose"):
        extra = tuple(before - after for before, after in sides)
        numbers = all(0 <= more < s for more, s in zip(extra, stride, strict=True))
        return (first, (("output_padding", extra),)) if numbers else ("same", ())
    if all(before == after for before, after in sides):
        return first, ()
    assert node.weight is not None
    sizes = inside(tuple(graph[node.inputs[0]].shape), graph.layout)
    same = tuple(same_padding(*axis) for axis in zip(sizes, node.weight.shape[2:], stride, dilation, strict=True))
    return ("same" if sides == same else sides), ()

"""Batch norms folded into the layer before them; one that follows no layer becomes a layer, or part of the next."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from mpq_plugins.graph.lonely_norms import as_depthwise, folded_weight, into_readers
from mpq_plugins.graph.node import BATCH_NORM, UNKNOWN, Graph, Node, renamed
from mpq_plugins.graph.ops import op_of


def fold_batch_norms(graph: Graph, into_layers: bool = True) -> Graph:
    """The graph without "batch_norm" nodes (attrs: gamma, beta, mean, variance [channels], epsilon and axis).

    A layer that is called several times takes a norm along if the same one follows every call. One of features that
    follows no layer is folded into the linear layers that read it; others become depthwise convolutions, or "unknown".
    into_layers: False leaves those that follow a layer as they are, for a model that trains with them.
    """
    reads = _Reads(graph)
    wanted = {norm.name for norm in graph.nodes if norm.op == BATCH_NORM and reads.follows_every_call(norm)}
    taken: set[str] = set()
    changed: dict[str, Node] = {}
    into: dict[str, str] = {}
    for name in [node.name for node in graph.nodes if node.op == BATCH_NORM]:
        norm = graph[name]
        before = _now(graph, changed, into.get(norm.inputs[0], norm.inputs[0]))
        again = before.name in taken and reads.calls_of(before) > 1  # a second norm, behind one that was folded
        if before.weighted and name not in wanted and before.name in taken:
            graph, changed, into = renamed(graph, changed, into), {}, {}
            reads = _Reads(graph)
            wanted |= {name} if reads.follows_every_call(graph[name]) else set()
        if name in wanted and not again:
            if into_layers:
                changed[before.name] = _folded(before, norm)
                into[name] = before.name
                taken.add(before.name)
            continue
        graph, changed, into = renamed(graph, changed, into), {}, {}
        norm = graph[name]
        alone = into_readers(graph, norm) or as_depthwise(graph, norm)
        graph = alone or graph.with_nodes([_unfoldable(norm)])
        reads = _Reads(graph)
    return renamed(graph, changed, into)


def _now(graph: Graph, changed: Mapping[str, Node], name: str) -> Node:
    return changed.get(name) or graph[name]


class _Reads:
    """Who reads what in a graph, and how often each layer is called."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.counts = reader_counts(graph)
        self.calls: dict[str, list[Node]] = {}
        for node in graph.layers:
            self.calls.setdefault(node.weight_site, []).append(node)

    def calls_of(self, layer: Node) -> int:
        return len(self.calls.get(layer.weight_site, ()))

    def follows_every_call(self, norm: Node) -> bool:
        """Whether the norm could be folded: it alone reads a layer, along its output channels, and so at every call."""
        before = self.graph[norm.inputs[0]]
        if not before.weighted or channel_axis_of(self.graph, before) != norm.attrs["axis"]:
            return False
        return all(
            self.counts[call.name] == 1
            and call.low is None
            and call.high is None
            and any(r.op == BATCH_NORM and _owner(r) == _owner(norm) for r in self.graph.readers(call.name))
            for call in self.calls[before.weight_site]
        )


def _owner(norm: Node) -> str:
    return norm.layer or norm.name


def channel_axis_of(graph: Graph, layer: Node) -> int:
    """The axis of a layer's output that its output channels lie along."""
    return 1 if op_of(layer).images and graph.layout == "NCHW" else len(layer.shape) - 1


def reader_counts(graph: Graph) -> Counter[str]:
    """How often each node's output is read, the model's own returning of it among that."""
    return Counter([*graph.outputs, *(name for node in graph.nodes for name in node.inputs)])


def with_fused(node: Node, gone: Node) -> dict[str, object]:
    """The attrs of a node that does the work of another one too, whose name is kept."""
    names = (*node.attrs.get("fused", ()), *gone.attrs.get("fused", ()), gone.name)
    return {**node.attrs, "fused": names}


def _folded(layer: Node, norm: Node) -> Node:
    assert layer.weight is not None
    weight, bias = folded_weight(layer.weight, layer.bias, norm)
    return replace(layer, weight=weight, bias=bias, attrs=with_fused(layer, norm))


def _unfoldable(norm: Node) -> Node:
    reason = (
        f"a batch norm along axis {norm.attrs['axis']} that follows no layer it could be folded into needs channels "
        f"along the axis of channels, and its input has the shape {norm.sample_shape}; fold it by hand"
    )
    return replace(norm, op=UNKNOWN, attrs={"what": "batch_norm", "reason": reason, "was": norm})

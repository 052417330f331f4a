"""Batch norms folded into the layer before them; one that follows no layer becomes a layer, or part of the next."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from mpq_plugins.graph.lonely_norms import as_depthwise, folded_weight, into_readers
from mpq_plugins.graph.node import BATCH_NORM, UNKNOWN, Graph, Node, merged
from mpq_plugins.graph.ops import op_of


def fold_batch_norms(graph: Graph, into_layers: bool = True) -> Graph:
    """The graph without "batch_norm" nodes (attrs: gamma, beta, mean, variance [channels], epsilon and axis).

    A layer that is called several times takes a norm along if the same one follows every call. One of features that
    follows no layer is folded into the linear layers that read it; others become depthwise convolutions, or "unknown".
    into_layers: False leaves those that follow a layer as they are, for a model that trains with them.
    """
    wanted = {norm.name for norm in graph.nodes if norm.op == BATCH_NORM and _follows_every_call(graph, norm)}
    taken: set[str] = set()
    for name in [node.name for node in graph.nodes if node.op == BATCH_NORM]:
        norm = graph[name]
        before = graph[norm.inputs[0]]
        again = before.name in taken and _calls(graph, before) > 1  # a second norm, behind one that was folded
        if before.weighted and name not in wanted and before.name in taken:
            wanted |= {name} if _follows_every_call(graph, norm) else set()
        if name in wanted and not again:
            if into_layers:
                graph = merged(graph, norm, _folded(before, norm))
                taken.add(before.name)
            continue
        alone = into_readers(graph, norm) or as_depthwise(graph, norm)
        graph = alone or graph.with_nodes([_unfoldable(norm)])
    return graph


def _follows_every_call(graph: Graph, norm: Node) -> bool:
    """Whether the norm could be folded: it alone reads a layer, along its output channels, and so at every call."""
    before = graph[norm.inputs[0]]
    if not before.weighted or channel_axis_of(graph, before) != norm.attrs["axis"]:
        return False
    counts = reader_counts(graph)
    calls = [node for node in graph.layers if node.weight_site == before.weight_site]
    return all(
        counts[call.name] == 1
        and call.low is None
        and call.high is None
        and any(reader.op == BATCH_NORM and _owner(reader) == _owner(norm) for reader in graph.readers(call.name))
        for call in calls
    )


def _owner(norm: Node) -> str:
    return norm.layer or norm.name


def _calls(graph: Graph, layer: Node) -> int:
    return sum(node.weight_site == layer.weight_site for node in graph.layers)


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

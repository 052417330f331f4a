"""What stays float: ops that nothing describes behind the last weight, and what a user wants to keep so."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import replace
from fnmatch import fnmatchcase

from mpq_plugins.errors import ModelError, UnmatchedName
from mpq_plugins.graph.node import FLOAT, INPUT, INPUT_SUFFIX, RAW, UNKNOWN, Graph, Node
from mpq_plugins.graph.refusals import refusal


def settle_float_parts(graph: Graph, keep_float: Iterable[str] = ()) -> Graph:
    """The graph with every node either on grids or "float", and an "input" node wherever a float tensor is quantized.

    keep_float: names of nodes, of modules that hold them, or patterns of either. A node without a record, and
    whatever reads it, is float too where no weight follows.
    A float node holds what it was as attrs["was"], where that is known; else only the framework can compute it.

    Raises ModelError where nothing is left to quantize, UnmatchedName where a name matches nothing, and UnsupportedOp,
    with all names (``names``), where a node without a record feeds a weight.
    """
    kept = kept_names(graph, keep_float)
    if not any(node.weighted and node.name not in kept for node in graph.nodes):
        unknown = [node for node in graph.nodes if node.op == UNKNOWN and node.attrs.get("weights")]
        reasons = "".join(f"; {node.name}: {node.attrs['reason']}" for node in unknown)
        raise ModelError(f"the model has no convolution or linear layer to quantize{reasons}")
    refused = followed_by_weights(graph, kept)
    if refused:
        raise refusal(graph, refused, {}, set(refused), refused)
    floats: set[str] = set()
    trailing: set[str] = set()
    nodes = []
    for node in graph.nodes:
        if (node.op == UNKNOWN and node.name not in kept) or trailing.intersection(node.inputs):
            trailing.add(node.name)
        if node.name in kept or node.name in trailing or node.op == FLOAT:
            floats.add(node.name)
            node = _as_float(node)
        nodes.append(node)
    return _with_inputs(Graph(tuple(nodes), graph.outputs, graph.layout))


def kept_names(graph: Graph, keep_float: Iterable[str]) -> set[str]:
    """The nodes that keep_float names. Raises UnmatchedName for what matches nothing."""
    found: set[str] = set()
    for pattern in keep_float:
        matched = {node.name for node in graph.nodes if node.op not in RAW[:2] and _matches(node, pattern)}
        if not matched:
            names = [name for node in graph.nodes for name in (node.name, *node.attrs.get("fused", ()))]
            close = difflib.get_close_matches(pattern, names, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else f"; there are {', '.join(names[:8])}, ..."
            raise UnmatchedName(f"keep_float names {pattern!r}, which matches nothing in the model{hint}")
        found |= matched
    return found


def _matches(node: Node, pattern: str) -> bool:
    names = (node.name, *node.attrs.get("fused", ()), *node.attrs.get("fused_before", ()))
    return any(name == pattern or name.startswith(f"{pattern}.") or fnmatchcase(name, pattern) for name in names)


def followed_by_weights(graph: Graph, kept: set[str]) -> dict[str, str]:
    """The nodes without a record in front of a weight that is to be quantized, and the reasons."""
    before_weight: set[str] = set()
    for node in reversed(graph.nodes):
        if (node.weighted and node.name not in kept) or node.name in before_weight:
            before_weight.update(node.inputs)
    refused = [n for n in graph.nodes if n.op == UNKNOWN and n.name in before_weight and n.name not in kept]
    return {node.name: str(node.attrs["reason"]) for node in refused}


def _as_float(node: Node) -> Node:
    if node.op == FLOAT:
        return node
    kept = ("what", "reason", "weights", "function", "arguments")
    attrs = {name: node.attrs[name] for name in kept if name in node.attrs}
    attrs.setdefault("what", node.op)
    if node.op != UNKNOWN:
        attrs["was"] = node
    elif "was" in node.attrs:
        attrs["was"] = node.attrs["was"]
    return Node(node.name, FLOAT, node.inputs, node.shape, attrs=attrs)


def _with_inputs(graph: Graph) -> Graph:
    """An "input" node behind every float tensor that a node on grids reads, and behind no other."""
    entering = {
        name for node in graph.nodes if node.op not in (*RAW, INPUT) for name in node.inputs if graph[name].op in RAW
    }
    nodes = []
    for node in graph.nodes:
        if node.op not in (*RAW, INPUT):
            inputs = tuple(name + INPUT_SUFFIX if name in entering else name for name in node.inputs)
            node = replace(node, inputs=inputs)
        nodes.append(node)
        if node.name in entering:
            nodes.append(Node(node.name + INPUT_SUFFIX, INPUT, (node.name,), node.shape))
    return Graph(tuple(nodes), graph.outputs, graph.layout)

"""Functions that readers only describe (attrs: function, arguments), as the records that they are made of.

Matrix products are quantized on every target. Norms and softmaxes are float parts where the target has float arithmetic
and integer arithmetic elsewhere; a softmax that no weight follows stays the model's float end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from mpq_plugins.graph.computed_masks import with_masks_in_float
from mpq_plugins.graph.masks import MASK, SOFTMAX, WHERE, with_masks, without_unread
from mpq_plugins.graph.moving import Part
from mpq_plugins.graph.node import UNKNOWN, Batch, Graph, Node, Operand
from mpq_plugins.graph.padded_pools import with_borders
from mpq_plugins.graph.record_products import PRODUCTS
from mpq_plugins.graph.record_rows import ROWS, masked, where
from mpq_plugins.graph.record_writing import MATMUL, NORMALIZE, STAYS_FLOAT, Writing, as_float_part
from mpq_plugins.graph.runtimes import runtime_of
from mpq_plugins.hardware.target import Target


def as_records(graph: Graph, target: Target | None) -> Graph:
    """The graph with every described function that has one as its records; the last node has its name."""
    integers = target is not None and not target.float_arithmetic
    before = _before_weights(graph)
    graph = with_borders(graph)
    graph = with_masks(graph, before if integers else {node.name for node in graph.nodes})
    nodes: list[Node] = []
    for node in graph.nodes:
        in_float = node.attrs.get(STAYS_FLOAT, target is not None and not integers)
        made = [as_float_part(node)] if node.op in (NORMALIZE, SOFTMAX) and in_float else None
        parts = [Part(name, graph[name].shape) for name in node.inputs]
        if node.op == SOFTMAX and "mask" in node.attrs and not in_float:
            made = masked(Writing(node, graph.layout, integers), parts, node.attrs)
        if node.op == UNKNOWN and _of_activations(_arguments(node)):
            word = str(node.attrs.get("function", ""))
            if word == WHERE:
                made = where(Writing(node, graph.layout, integers), parts)
            elif word in PRODUCTS and (target is None or target.runs(MATMUL)):
                made = PRODUCTS[word](Writing(node, graph.layout, integers), parts, _arguments(node))
                made = made and _short(made, graph, target)
            elif integers and word in ROWS and (word != SOFTMAX or node.name in before):
                made = ROWS[word](Writing(node, graph.layout, True), parts, _arguments(node))
        nodes += [node] if made is None else made
    return with_masks_in_float(without_unread(replace(graph, nodes=tuple(nodes)), graph))


TENSORS = ("input", "other", "key", "value")
"""The arguments that are activations; others are constants, but for a mask, which is either."""


def _of_activations(arguments: Mapping[str, Any]) -> bool:
    return all((key in TENSORS) == isinstance(value, Operand) for key, value in arguments.items() if key != MASK)


def _arguments(node: Node) -> Mapping[str, Any]:
    return node.attrs.get("arguments", {})  # type: ignore[no-any-return]


def _before_weights(graph: Graph) -> set[str]:
    """What leads to a weight, or to a product of two activations."""
    found: set[str] = set()
    for node in reversed(graph.nodes):
        if node.weighted or node.attrs.get("function") in PRODUCTS or node.name in found:
            found.update(node.inputs)
    return found


def _short(made: list[Node], graph: Graph, target: Target | None) -> list[Node]:
    """The nodes, of which products stay float whose sums, in the runtime's float32, could round."""
    longest = None if target is None else runtime_of(target).longest_products
    shapes = {node.name: node.shape for node in (*graph.nodes, *made)}

    def short(node: Node) -> Node:
        inner = shapes[node.inputs[0]][-1] if node.op == MATMUL else 0
        if longest is None or isinstance(inner, Batch) or inner <= longest:
            return node
        return as_float_part(node, f"sums of {inner} products could round in the float32 of the runtime")

    return [short(node) for node in made]

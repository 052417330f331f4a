"""Embeddings of a model's own whole numbers: rows of a table, looked up before anything is rounded.

Where the runtime looks up rows of codes, the table is stored on the grid that its rows enter, and there is no float
arithmetic. In the graph they are float nodes in front of an "input" node.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mpq_plugins.graph.node import ARGUMENT, FLOAT, INPUT, UNKNOWN, Array, Graph, Node, Operand
from mpq_plugins.graph.runtimes import runtime_of
from mpq_plugins.hardware.target import Target

EMBEDDING = "embedding"
REASON = "rows of its table are looked up, as codes"


def with_lookups(graph: Graph, target: Target | None) -> Graph:
    """The graph with embeddings of arguments as nodes that nothing refuses, where the target's runtime has such."""
    if target is None or not runtime_of(target).rows:
        return graph
    return graph.mapped(lambda node: _as_lookup(node) if node.op == UNKNOWN and _is_lookup(graph, node) else node)


def table_of_rows(graph: Graph, node: Node) -> Array | None:
    """The table of a node whose rows only an "input" node reads; None of another node."""
    readers = graph.readers(node.name)
    alone = len(readers) == 1 and readers[0].op == INPUT and node.name not in graph.outputs
    if node.op != FLOAT or not alone or not _is_lookup(graph, node):
        return None
    return np.asarray(node.attrs["arguments"]["weight"], np.float64)


def reads_whole_numbers(graph: Graph, name: str) -> bool:
    """Whether an argument is read by such nodes alone."""
    readers = graph.readers(name)
    return bool(readers) and all(table_of_rows(graph, node) is not None for node in readers)


def _is_lookup(graph: Graph, node: Node) -> bool:
    arguments = node.attrs.get("arguments", {})
    return (
        node.attrs.get("function") == EMBEDDING
        and set(arguments) == {"input", "weight"}
        and isinstance(arguments["input"], Operand)
        and len(node.inputs) == 1
        and graph[node.inputs[0]].op == ARGUMENT
    )


def _as_lookup(node: Node) -> Node:
    return replace(node, op=FLOAT, attrs={**node.attrs, "reason": REASON})

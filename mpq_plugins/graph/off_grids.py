"""Numbers that no grid holds beside the others of a tensor: what is added to hide elements from all but a softmax.

A sum with -1e9 has a place in float alone, and so has what reads it, up to the op behind which nothing of it is left: a
maximum, a clamp, a function that is flat there. Such nodes stay float where the target has float arithmetic, and are
refused elsewhere.
"""

from __future__ import annotations

import numpy as np

from mpq_plugins.graph.constants import ADD, AFFINE
from mpq_plugins.graph.node import CONSTANT, RAW, UNKNOWN, Array, Graph, Node, undescribed
from mpq_plugins.graph.ops import op_of

APART = 1e4
"""How far apart constants lie of which no grid holds both beside an activation."""
PADDED = "it pads with numbers that no grid holds beside the others"
KEEP = ("affine", "leaky_relu", "abs", "log_sigmoid", "softsign", "power")
"""Functions of one element that large numbers come out of as such, or that are not flat."""


def with_large_numbers_off_grids(graph: Graph, large: set[str]) -> Graph:
    """The graph with the sums that hide elements as float parts, and what reads such numbers up to what ends them.

    large: the nodes known to give such numbers.
    """
    adding = {node.name for node in graph.nodes if _adds_too_much(graph, node)}
    padded = {node.name for node in graph.nodes if node.attrs.get("reason") == PADDED}
    large, reading = large | adding | padded, set[str]()
    for node in graph.nodes:
        if not large.isdisjoint(node.inputs) and node.op not in (*RAW, UNKNOWN) and not node.weighted:
            reading.add(node.name)
            if not _ends(node):
                large.add(node.name)
    reasons = {
        **dict.fromkeys(reading, "it reads numbers that no grid holds beside the others"),
        **dict.fromkeys(adding, "it hides elements by numbers that no grid holds beside the others"),
    }
    return graph.mapped(lambda node: undescribed(node, reasons[node.name]) if node.name in reasons else node)


def far_apart(values: Array) -> bool:
    """Whether some numbers hide what the others leave as it is, wherever they are added.

    >>> far_apart(np.array([0.0, -1e9])), far_apart(np.array([0.0, np.inf])), far_apart(np.array([2e4, 2.1e4]))
    (True, True, False)
    """
    values = np.asarray(values, np.float64)
    return bool(values.size) and bool(values.max() - values.min() >= APART)


def _adds_too_much(graph: Graph, node: Node) -> bool:
    if node.op == AFFINE:
        return "axis" in node.attrs and far_apart(node.attrs["offset"])
    constants = [graph[name].attrs["value"] for name in node.inputs if graph[name].op == CONSTANT]
    return node.op == ADD and any(far_apart(value) for value in constants)


def _ends(node: Node) -> bool:
    """Whether nothing is left of large numbers behind a node."""
    bounded = node.op in ("max_pool", "clamp") or node.low is not None or node.high is not None
    return bounded or (op_of(node).table and node.op not in KEEP)

"""Which nodes a sweep visits in which order, and what a visit costs."""

from __future__ import annotations

import math

from mpq_plugins.graph.node import Graph, Node
from mpq_plugins.graph.weights import matrix_shape
from mpq_plugins.rounding.moments.order import sweep_order


def visited(graph: Graph) -> list[Node]:
    """The layers and what they need, in the order in which layers are rounded."""
    adds = {node.name: add_of(graph, node) for node in graph.layers}
    last = {name for name, add in adds.items() if add is not None and add.inputs[-1] == name}
    wanted = _before_layers(graph)
    order = sweep_order({node.name: node.inputs for node in graph.nodes}, set(adds), last)
    return [graph[name] for name in order if name in wanted]


def add_of(graph: Graph, node: Node) -> Node | None:
    """The add that alone reads a layer as it is, without a clamp."""
    readers = graph.readers(node.name)
    clamped = node.low is not None or node.high is not None
    if clamped or len(readers) != 1 or readers[0].op != "add" or node.name in graph.outputs:
        return None
    return readers[0]


def effort(node: Node, samples: int) -> float:
    """What visiting a node costs beside others: its elements of all samples twice, and rounding its weight."""
    outputs = samples * math.prod(node.sample_shape)
    if not node.weighted:
        return outputs / 30 + 1
    elements = math.prod(matrix_shape(node))
    return outputs * elements / len(node.biases) / 1e3 + elements


def _before_layers(graph: Graph) -> set[str]:
    """The nodes that some layer needs, and the layers."""
    found: set[str] = set()
    for node in reversed(graph.nodes):
        if node.weighted or node.name in found:
            found |= {node.name, *node.inputs}
    return found

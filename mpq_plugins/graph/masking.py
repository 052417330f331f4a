"""Constants that hide elements from a softmax: -1e9 or -inf added to products, as attention by hand has them.

No grid holds such a number beside others. In front of a softmax in integers it becomes the softmax's own mask; in
float, the sum is part of the float part.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from mpq_plugins.graph.constants import ADD, AFFINE
from mpq_plugins.graph.integer_softmax import HIDES, hidden_by
from mpq_plugins.graph.joining import without_unread_constants
from mpq_plugins.graph.node import CONSTANT, UNKNOWN, Array, Graph, Node, renamed

SOFTMAX = "softmax"


def masks_settled(graph: Graph) -> Graph:
    """The graph with every sum with a constant that hides elements as the mask of the softmax that alone reads it, or
    as a float part."""
    changed: dict[str, Node] = {}
    gone: dict[str, str] = {}
    for node in graph.nodes:
        found = _mask_of(graph, node)
        if found is None:
            continue
        source, mask = found
        readers = graph.readers(node.name)
        alone = len(readers) == 1 and node.name not in graph.outputs
        softmax = readers[0] if alone else node
        rank = len(node.shape)
        along_last = softmax.op == SOFTMAX and "mask" not in softmax.attrs and softmax.attrs["axis"] == rank - 1
        if along_last and hidden_by(mask, -1) is not None and graph[source].shape == node.shape:
            changed[softmax.name] = replace(softmax, attrs={**softmax.attrs, "mask": mask})
            gone[node.name] = source
            continue
        reason = "it hides elements by adding what no grid holds beside other numbers"
        changed[node.name] = Node(
            node.name, UNKNOWN, node.inputs, node.shape, attrs={"what": ADD, "reason": reason, "was": node}
        )
    return without_unread_constants(renamed(graph, changed, gone)) if changed else graph


def _mask_of(graph: Graph, node: Node) -> tuple[str, Array] | None:
    """What is added to, and the constant of its last axes, of a sum that hides elements."""
    if node.op == AFFINE and "axis" in node.attrs and np.all(node.attrs["scale"] == 1):
        offsets = np.asarray(node.attrs["offset"])
        last = node.attrs["axis"] == len(node.shape) - 1 and offsets.ndim == 1
        return (node.inputs[0], offsets) if last and np.any(offsets <= HIDES) else None
    if node.op != ADD or len(node.inputs) != 2:
        return None
    for source, other in (node.inputs, node.inputs[::-1]):
        value = np.asarray(graph[other].attrs["value"]) if graph[other].op == CONSTANT else np.zeros(1)
        if graph[source].op != CONSTANT and np.any(value <= HIDES):
            while value.ndim > 1 and len(value) == 1:
                value = value[0]
            return source, value
    return None

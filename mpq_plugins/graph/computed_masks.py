"""Masks of softmaxes that a model computes from what it is given: which of its nodes do nothing else.

Such a mask may be made of infinities, beside which nothing lies on a grid: it is float up to the softmax.
"""

from __future__ import annotations

from dataclasses import replace

from mpq_plugins.graph.masks import SOFTMAX
from mpq_plugins.graph.node import RAW, UNKNOWN, Graph, Node, undescribed
from mpq_plugins.graph.record_writing import MATMUL

_MAKES_MASK = "makes_mask"


def with_masks_in_float(graph: Graph) -> Graph:
    """The graph with what leads to computed masks of softmaxes, and nowhere else, as float parts."""
    found: set[str] = set()
    for node in reversed(graph.nodes):
        readers = graph.readers(node.name)
        alone = bool(readers) and node.name not in graph.outputs and not node.weighted and node.op not in (*RAW, MATMUL)
        if alone and all(reader.name in found or _is_mask_of(node, reader) for reader in readers):
            found.add(node.name)
    return graph.mapped(lambda node: _in_float(node) if node.name in found else node)


def makes_mask(node: Node) -> bool:
    """Whether a node is float because it makes a mask and nothing else."""
    return bool(node.attrs.get(_MAKES_MASK))


def _in_float(node: Node) -> Node:
    made = node if node.op == UNKNOWN else undescribed(node, "it makes a mask")
    return replace(made, attrs={**made.attrs, _MAKES_MASK: True})


def _is_mask_of(node: Node, reader: Node) -> bool:
    """Whether a softmax that is a float part reads a node as its mask alone."""
    was = reader.attrs.get("was", reader)
    return was.op == SOFTMAX and len(reader.inputs) == 2 and reader.inputs[0] != node.name

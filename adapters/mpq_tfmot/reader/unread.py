"""What a model computes and nobody reads: parts of a split, some of several outputs, sizes, constants."""

from __future__ import annotations

from collections.abc import Iterable

from mpq_plugins.graph.node import ARGUMENT, Node

OUTPUT = "output"
"""What a node is that takes one of several outputs of a layer."""


def read_only(nodes: Iterable[Node], outputs: Iterable[str]) -> list[Node]:
    """The nodes without what nobody reads, of which Keras itself sees but whole layers; arguments stay."""
    read, kept = set(outputs), []
    for node in reversed(list(nodes)):
        if node.op == ARGUMENT or node.name in read:
            read.update(node.inputs)
            kept.append(node)
    return kept[::-1]

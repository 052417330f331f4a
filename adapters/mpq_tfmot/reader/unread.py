"""What a model computes and nobody reads: parts of a split, some of several outputs, sizes, constants."""

from __future__ import annotations

from collections.abc import Iterable

from mpq_plugins.graph.node import CONSTANT, UNKNOWN, Node
from mpq_tfmot.reader.constants import FOLDED
from mpq_tfmot.reader.written_layers import WRITTEN

OUTPUT = "output"
"""What a node is that takes one of several outputs of a layer."""


def read_only(nodes: Iterable[Node], outputs: Iterable[str]) -> list[Node]:
    """The nodes without what nobody reads."""
    read, kept = set(outputs), []
    for node in reversed(list(nodes)):
        may_go = (
            node.op in (*WRITTEN, CONSTANT)
            or node.attrs.get("what") in (OUTPUT, FOLDED)
            or (node.op == UNKNOWN and _is_size(node))
        )
        if not may_go or node.name in read:
            read.update(node.inputs)
            kept.append(node)
    return kept[::-1]


def _is_size(node: Node) -> bool:
    """Whether a node without a record is of a function, which has no weights."""
    return not node.attrs.get("weights") and not node.shape[1:2]

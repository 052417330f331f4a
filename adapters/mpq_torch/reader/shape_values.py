"""Nodes of a traced graph that compute sizes (Python integers) rather than tensors."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from torch import fx

METHODS = ("size", "dim", "ndimension", "numel", "nelement", "is_floating_point")
ATTRIBUTES = ("shape", "ndim", "device", "dtype", "layout", "is_cuda")


def is_shape_value(node: Any) -> bool:
    """Whether the node computes sizes: whether all that it reads, behind what passes it on, asks a tensor for them.

    Without recursion: a chain of calls may be as long as a network.
    """
    if not isinstance(node, fx.Node):
        return False
    waiting, seen = [node], {node}
    while waiting:
        one = waiting.pop()
        if asks(one):
            continue
        sources = one.all_input_nodes
        if not sources or not _computes(one):
            return False
        waiting += [source for source in sources if source not in seen]
        seen.update(sources)
    return True


def computes_sizes(node: fx.Node, known: Collection[fx.Node]) -> bool:
    """As ``is_shape_value``, where it is known which of the nodes in front compute sizes."""
    sources = node.all_input_nodes
    return asks(node) or (bool(sources) and _computes(node) and all(source in known for source in sources))


def asks(node: fx.Node) -> bool:
    """Whether the node asks a tensor for its size."""
    if node.op == "call_method":
        return node.target in METHODS
    return node.target is getattr and node.args[1] in ATTRIBUTES


def _computes(node: fx.Node) -> bool:
    return node.op == "call_method" or (node.op == "call_function" and node.target is not getattr)

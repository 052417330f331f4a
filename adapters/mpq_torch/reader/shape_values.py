"""Nodes of a traced graph that compute sizes (Python integers) rather than tensors."""

from __future__ import annotations

from typing import Any

from torch import fx

METHODS = ("size", "dim", "ndimension", "numel", "nelement", "is_floating_point")
ATTRIBUTES = ("shape", "ndim", "device", "dtype", "layout", "is_cuda")


def is_shape_value(node: Any) -> bool:
    """Whether the node computes sizes."""
    if not isinstance(node, fx.Node) or node.op in ("placeholder", "get_attr", "call_module", "output"):
        return False
    if node.op == "call_method":
        return node.target in METHODS
    if node.target is getattr:
        return node.args[1] in ATTRIBUTES
    inputs = node.all_input_nodes
    return bool(inputs) and all(is_shape_value(n) for n in inputs)

"""Nodes of a traced graph that compute sizes (Python integers) rather than tensors."""

from __future__ import annotations

from typing import Any

from torch import fx

from mpq_torch.reader.constant_values import all_lead_to

METHODS = ("size", "dim", "ndimension", "numel", "nelement", "is_floating_point")
ATTRIBUTES = ("shape", "ndim", "device", "dtype", "layout", "is_cuda")


def is_shape_value(node: Any) -> bool:
    """Whether the node computes sizes."""
    return isinstance(node, fx.Node) and all_lead_to(node, _asks, _computes)


def _asks(node: fx.Node) -> bool:
    """Whether the node asks a tensor for its size."""
    if node.op == "call_method":
        return node.target in METHODS
    return node.target is getattr and node.args[1] in ATTRIBUTES


def _computes(node: fx.Node) -> bool:
    return node.op == "call_function" and node.target is not getattr

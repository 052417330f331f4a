"""What a node of torch.fx is called with: torch types an argument as anything that a graph may hold."""

from __future__ import annotations

from typing import Any, cast

from torch import fx


def source_of(node: fx.Node, position: int = 0) -> fx.Node:
    """The node that a call reads first, or at another position."""
    found = node.args[position]
    assert isinstance(found, fx.Node), f"{node} reads no tensor as its argument {position}"
    return found


def arguments_of(node: fx.Node) -> tuple[Any, ...]:
    """The arguments of a call in their order: nodes, plain values, and lists, tuples and dicts of both."""
    return cast("tuple[Any, ...]", node.args)

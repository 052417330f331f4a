"""The ops that a graph may have. Ours: one file each in here, or one for a family that differs in a word only."""

from __future__ import annotations

from collections.abc import Mapping

from mpq_plugins.errors import UnsupportedOp
from mpq_plugins.graph.node import Node
from mpq_plugins.graph.op import Op
from mpq_plugins.registry import known, once_known


def all_ops() -> Mapping[str, Op]:
    """Every op that a plug-in has registered, by its word."""
    return known().ops


def op_of(node: Node) -> Op:
    """The record of a node's op. Raises UnsupportedOp, naming the node, where there is none."""
    try:
        return all_ops()[node.op]
    except KeyError:
        raise UnsupportedOp(f"{node.name}: no op is called {node.op!r}; there are {', '.join(all_ops())}") from None


def is_op(node: Node) -> bool:
    """Whether the node has a record, and so a place on grids; raw tensors and float ops have none."""
    return node.op in all_ops()


@once_known
def spelled(framework: str) -> Mapping[str, Op]:
    """The ops by the names that a framework or format has for them."""
    return {name: op for op in all_ops().values() for name in op.spellings.get(framework, ())}

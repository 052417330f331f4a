"""The ops that a graph may have: one file each, or one for a family that differs in a word only."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from mpq_plugins.errors import UnsupportedOp
from mpq_plugins.graph.node import Node
from mpq_plugins.graph.op import Op


@cache
def all_ops() -> dict[str, Op]:
    """Every op by its word."""
    found: dict[str, Op] = {}
    for entry in pkgutil.iter_modules(__path__):
        module = importlib.import_module(f"{__name__}.{entry.name}")
        for op in module.OPS:
            assert op.word not in found, f"two records of {op.word}"
            found[op.word] = op
    return found


def op_of(node: Node) -> Op:
    """The record of a node's op. Raises UnsupportedOp, naming the node, where there is none."""
    try:
        return all_ops()[node.op]
    except KeyError:
        raise UnsupportedOp(f"{node.name}: no op is called {node.op!r}; there are {', '.join(all_ops())}") from None


def is_op(node: Node) -> bool:
    """Whether the node has a record, and so a place on grids; raw tensors and float ops have none."""
    return node.op in all_ops()


def spelled(framework: str) -> dict[str, Op]:
    """The ops by the names that a framework or format has for them."""
    return {name: op for op in all_ops().values() for name in op.spellings.get(framework, ())}

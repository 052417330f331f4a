"""Numbers of a traced graph that are the size of the batch: by comparing what was traced at two sizes.

Where a model asks Python for the size (``len(x)``, ``int(x.shape[0])``), torch.export has it as a number.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from mpq_torch.reader.shapes import SIZES


class _Differ(Exception):
    """The two graphs are not of one model."""


@dataclass(frozen=True)
class _Multiple:
    """So many times the size of the batch."""

    times: int


def opened(first: fx.GraphModule, second: fx.GraphModule, name: str) -> bool:
    """Let the first graph compute with batches of every size, in place; says whether it can.

    first, second: of one model, traced with batches of the two sizes: they have to differ in nothing but numbers that
    are multiples of the size. name: of an argument that has the batch as its first axis.
    """
    nodes, others = list(first.graph.nodes), list(second.graph.nodes)
    same = dict(zip(nodes, others, strict=False))
    try:
        if len(nodes) != len(others):
            return False
        for node, other in same.items():
            _check(first, second, node, other)
        found = [(n, _compared((n.args, n.kwargs), (o.args, o.kwargs), same)) for n, o in same.items()]
    except _Differ:
        return False
    argument = next(node for node in nodes if node.op == "placeholder" and node.target == name)
    with first.graph.inserting_after(argument):
        size = first.graph.call_method("size", (argument, 0))
    for node, value in found:
        with first.graph.inserting_before(node):
            node.args, node.kwargs = _replaced(value, size)
    first.graph.eliminate_dead_code()
    first.recompile()
    return True


def _check(first: fx.GraphModule, second: fx.GraphModule, node: fx.Node, other: fx.Node) -> None:
    """Raise _Differ for two nodes that are not the same op, and for tensors of the model that are not the same."""
    if (node.op, node.target) != (other.op, other.target):
        raise _Differ
    if node.op == "get_attr":
        held = [operator.attrgetter(str(node.target))(graph) for graph in (first, second)]
        if held[0].shape != held[1].shape or not torch.equal(*held):
            raise _Differ


def _compared(value: Any, other: Any, same: Mapping[fx.Node, fx.Node]) -> Any:
    """The first of two arguments, with _Multiple for what is a multiple of the size of the batch."""
    if isinstance(value, fx.Node):
        if same.get(value) is not other:
            raise _Differ
        return value
    if type(value) is not type(other):
        raise _Differ
    if isinstance(value, (tuple, list)):
        if len(value) != len(other):
            raise _Differ
        return type(value)(_compared(a, b, same) for a, b in zip(value, other, strict=True))
    if isinstance(value, dict):
        return {key: _compared(part, other.get(key), same) for key, part in value.items()}
    if isinstance(value, slice):
        return slice(*(_compared(getattr(value, k), getattr(other, k), same) for k in ("start", "stop", "step")))
    if value == other:
        return value
    if isinstance(value, int) and value % SIZES[0] == 0 and value // SIZES[0] * SIZES[1] == other:
        return _Multiple(value // SIZES[0])
    raise _Differ


def _replaced(value: Any, size: fx.Node) -> Any:
    if isinstance(value, _Multiple):
        return size if value.times == 1 else size.graph.call_function(operator.mul, (size, value.times))
    if isinstance(value, (tuple, list)):
        return type(value)(_replaced(part, size) for part in value)
    if isinstance(value, dict):
        return {key: _replaced(part, size) for key, part in value.items()}
    if isinstance(value, slice):
        return slice(*(_replaced(getattr(value, k), size) for k in ("start", "stop", "step")))
    return value

"""Trees of elementwise nodes that begin and end with one tensor: functions of one element, as a model writes them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from mpq_plugins.graph.logic import is_logic, operands, reads, settings
from mpq_plugins.graph.node import Array, Node, Operand
from mpq_plugins.graph.numpy_runner import NUMPY_RUNNER
from mpq_plugins.graph.ops import is_op, op_of
from mpq_plugins.graph.ops.piecewise import PIECEWISE, Steps, X, piecewise

LARGEST = 16
"""How many ops a function may be written in."""


def elementwise(nodes: Mapping[str, Node], node: Node) -> bool:
    """Whether each element of the output depends on the one element in the same place of each input."""
    if "axis" in node.attrs or not (is_logic(node) or is_op(node)):
        return False
    word = is_logic(node) or node.op in ("clamp", "add", "mul") or op_of(node).table
    return word and all(nodes[name].shape == node.shape for name in reads(node))


def trees(
    nodes: Mapping[str, Node], root: Node, counts: Mapping[str, int], order: Mapping[str, int]
) -> Iterator[tuple[str, list[str]]]:
    """Ways to see the node as a function of one tensor: its name, and the nodes in between in order, from few to many.

    counts: how often each node is read. order: of their execution.
    """
    inside, read = [root.name], list(reads(root))
    while len(inside) <= LARGEST:
        front = set(read).difference(inside)
        if len(front) == 1:
            yield next(iter(front)), sorted(inside, key=order.__getitem__)
        if not front:
            return
        last = nodes[max(front, key=order.__getitem__)]
        if not elementwise(nodes, last) or counts[last.name] != read.count(last.name):
            return
        inside.append(last.name)
        read += reads(last)


def steps_of(nodes: Sequence[Node], source: str) -> Steps:
    """The steps of the function that nodes in their order make of a source."""
    at: dict[str, str | int] = {source: X}
    made = []

    def add(word: str, read: tuple[str | int | float, ...], given: Mapping[str, object]) -> int:
        made.append((word, read, tuple(sorted(given.items()))))
        return len(made) - 1

    for node in nodes:
        inputs = [at.get(name, X) for name in node.inputs]
        if is_logic(node):
            numbers = (inputs[v.index] if isinstance(v, Operand) else _number(v) for v in operands(node).values())
            at[node.name] = add(node.attrs["function"], tuple(numbers), settings(node))
        elif node.op == "clamp":
            at[node.name] = add("clamp", tuple(inputs), {"low": node.low, "high": node.high})
        else:
            given = {name: _plain(node.attrs[name]) for name in op_of(node).attrs if name in node.attrs}
            at[node.name] = add(node.op, tuple(inputs), given)
            if node.low is not None or node.high is not None:
                at[node.name] = add("clamp", (at[node.name],), {"low": node.low, "high": node.high})
    return tuple(made)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.ndarray | np.generic) else value


def _number(value: object) -> float:
    return float(np.asarray(value, np.float64).flat[0])


def computed(nodes: Sequence[Node], source: str, probes: Array) -> Array:
    """What the last of some nodes gives where the source has the values of the probes."""
    with np.errstate(all="ignore"):
        record = Node("tree", PIECEWISE, (source,), attrs={"steps": steps_of(nodes, source)})
        return np.asarray(piecewise(NUMPY_RUNNER, record, probes), np.float64)

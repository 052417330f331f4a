"""What of a graph has no place in an integer program, found before any of it is lowered, all names at once."""

from __future__ import annotations

import numpy as np

from mpq_plugins.errors import UnsupportedOp
from mpq_plugins.graph.lookups import reads_whole_numbers, table_of_rows
from mpq_plugins.graph.node import CONSTANT, FLOAT, INPUT, RAW, Batch, Graph, Node, Shape
from mpq_plugins.graph.ops import op_of


def check_lowerable(graph: Graph) -> None:
    """Raise UnsupportedOp, with all names, for float ops in front of integer ones, and ops without an integer step.

    Ops that mix samples and constants of several samples have none.
    """
    reasons = {
        **dict.fromkeys(_floats_in_front(graph), "stays float in front of integer ops"),
        **{node.name: reason for node in graph.nodes if node.op not in RAW and (reason := _reason(graph, node))},
    }
    if reasons:
        listed = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
        raise UnsupportedOp(
            f"{listed}. A program runs on integers alone, one sample at a time: cut the model there, write it "
            "differently, or search without keep_float",
            names=list(reasons),
        )


def _floats_in_front(graph: Graph) -> list[str]:
    """The float ops that lead to an op on integers, in the order of execution."""
    needed: set[str] = set()
    for node in reversed(graph.nodes):
        if node.op == INPUT or (node.op == FLOAT and node.name in needed):
            needed.update(node.inputs)
    found = [node for node in graph.nodes if node.op == FLOAT and node.name in needed]
    return [node.name for node in found if not _looked_up(graph, node)]


def _looked_up(graph: Graph, node: Node) -> bool:
    """Whether rows of codes are looked up by an argument that nothing else reads."""
    return table_of_rows(graph, node) is not None and reads_whole_numbers(graph, node.inputs[0])


def _reason(graph: Graph, node: Node) -> str | None:
    """Why an op on grids cannot be lowered; None where it can."""
    if not _one_sample(node.shape):
        before = " and ".join(_shown(graph[name].shape) for name in node.inputs)
        return f"mixes samples, from {before} to {_shown(node.shape)}"
    if node.op == INPUT:
        source = graph[node.inputs[0]]
        if source.op == CONSTANT and np.shape(source.attrs["value"])[:1] != (1,):
            return (
                f"is a constant of the shape {np.shape(source.attrs['value'])}, whose first axis must be of one sample"
            )
        return None
    op = op_of(node)
    return None if op.table or op.integers is not None else f"{node.op} has no integer step"


def _one_sample(shape: Shape) -> bool:
    """Whether the batch stands in front, and only there."""
    return bool(shape) and shape[0] == Batch() and not any(isinstance(size, Batch) for size in shape[1:])


def _shown(shape: Shape) -> str:
    sizes = [(f"{s.times} * " if s.times > 1 else "") + "batch" if isinstance(s, Batch) else str(s) for s in shape]
    return f"({', '.join(sizes)})"

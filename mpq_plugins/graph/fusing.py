"""Clamps (ReLU and the like) fused into the op before them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from mpq_plugins.graph.folding import reader_counts, with_fused
from mpq_plugins.graph.node import INPUT, Graph, renamed
from mpq_plugins.graph.ops import is_op, op_of


def fuse_clamps(graph: Graph) -> Graph:
    """Fuse a clamp into the op before it, where that has a grid of its own and nobody else reads it.

    A clamp after another one whose bounds cross it is left: the order in which they act would matter.
    """
    nodes, counts = {node.name: node for node in graph.nodes}, reader_counts(graph)
    into: dict[str, str] = {}
    for clamp in graph.nodes:
        if clamp.op != "clamp":
            continue
        before = nodes[into.get(clamp.inputs[0], clamp.inputs[0])]
        if not is_op(before) or op_of(before).grid != "own" or before.op == INPUT:
            continue
        low, high = _tighter(max, before.low, clamp.low), _tighter(min, before.high, clamp.high)
        crossed = low is not None and high is not None and low > high
        if counts[before.name] != 1 or crossed:
            continue
        nodes[before.name] = replace(before, low=low, high=high, attrs=with_fused(before, clamp))
        into[clamp.name] = before.name
        counts[before.name] = counts[clamp.name]
    return renamed(graph, nodes, into)


def _tighter(choose: Callable[[float, float], float], a: float | None, b: float | None) -> float | None:
    if a is None or b is None:
        return b if a is None else a
    return choose(a, b)

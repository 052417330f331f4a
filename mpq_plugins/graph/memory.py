"""Who is in memory at once while a graph runs."""

from __future__ import annotations

from collections.abc import Mapping

from mpq_plugins.graph.node import RAW, Graph


def live_sites(graph: Graph, grid_of: Mapping[str, str]) -> list[tuple[str, ...]]:
    """For each op that writes a buffer, the activation sites in memory: what it writes, and all that it or a later op
    reads. What the model returns, or float ops read, stays until the end.

    grid_of: node -> activation site.
    """
    order = [node for node in graph.nodes if node.name in grid_of]
    last_read: dict[str, int] = {}
    for index, node in enumerate(order):
        last_read |= {grid_of[name]: index for name in node.inputs if name in grid_of}
    late = [name for node in graph.nodes if node.op in RAW for name in node.inputs]
    last_read |= {grid_of[name]: len(order) for name in [*late, *graph.outputs] if name in grid_of}
    live: list[tuple[str, ...]] = []
    made: set[str] = set()
    now: list[str] = []
    for index, node in enumerate(order):
        name = grid_of[node.name]
        if name not in made:
            made.add(name)
            now = [*(held for held in now if last_read.get(held, -1) >= index), name]
            live.append(tuple(now))
    return live

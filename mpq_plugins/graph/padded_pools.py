"""Poolings of what was padded with numbers that no grid holds, so that they lose to every element.

Where each window that reaches over the edge has the element nearest to it too, that element again does the same, and it
is on the tensor's own grid: a maximum is no other for one of its elements twice.
"""

from __future__ import annotations

from dataclasses import replace

from mpq_plugins.graph.moving import Moving, Part
from mpq_plugins.graph.node import UNKNOWN, Graph, Node
from mpq_plugins.graph.windows import with_overhang

LOSES = -1e4
"""From where down a number is none that an activation has beside it."""


def with_borders(graph: Graph) -> Graph:
    """The graph with each "pad" by such a number, which poolings alone read, as a border of its own elements."""
    nodes: list[Node] = []
    first = 2 if graph.layout == "NCHW" else 1
    for node in graph.nodes:
        sides, pools = _sides(node), graph.readers(node.name)
        if sides and node.name not in graph.outputs and all(_covers(pool, sides, first) for pool in pools):
            moving = Moving(node.name)
            nodes += moving.done(moving.bordered(Part(node.inputs[0], graph[node.inputs[0]].shape), sides, "replicate"))
        else:
            nodes.append(node)
    return replace(graph, nodes=tuple(nodes))


def _sides(node: Node) -> dict[int, tuple[int, int]]:
    """What is padded, by axis; nothing of another node."""
    given = node.attrs.get("arguments", {})
    if node.op != UNKNOWN or node.attrs.get("function") != "pad" or not given["value"] <= LOSES:
        return {}
    found = {axis: (int(before), int(after)) for axis, (before, after) in enumerate(given["pads"])}
    return {axis: pair for axis, pair in found.items() if any(pair)} if min(map(min, found.values())) >= 0 else {}


def _covers(pool: Node, sides: dict[int, tuple[int, int]], first: int) -> bool:
    """Whether a node is a pooling each of whose windows has an element of the tensor beside those of its border.

    first: the axis along which its windows begin.
    """
    if pool.op != "max_pool" or any(step != 1 for step in pool.attrs["dilation"]):
        return False
    sizes = dict(enumerate(zip(pool.attrs["kernel"], with_overhang(pool), strict=True), first))
    return all(
        axis in sizes and max(before + sizes[axis][1][0], after + sizes[axis][1][1]) < sizes[axis][0]
        for axis, (before, after) in sides.items()
    )

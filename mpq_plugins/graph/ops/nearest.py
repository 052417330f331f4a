"""Elements chosen along each axis: nearest interpolation to any size (attrs: sources).

sources: for every axis the index of the element that each element of the output is, or None for all as they are.
"""

from __future__ import annotations

from mpq_plugins.graph.node import Node
from mpq_plugins.graph.op import Op
from mpq_plugins.graph.runner import Runner, Tensor


def chosen(run: Runner, node: Node, x: Tensor) -> Tensor:
    """One axis after the other, each brought to the front and back."""
    sources = node.attrs["sources"]
    for axis, wanted in enumerate(sources):
        if wanted is not None:
            first = (axis, *(other for other in range(len(sources)) if other != axis))
            back = tuple(first.index(other) for other in range(len(sources)))
            x = run.transpose(run.take(run.transpose(x, first), wanted), back)
    return x


OPS = (Op("nearest", chosen, grid="input", target="reshape", passes_scales=True, axes={"sources": "each"}),)

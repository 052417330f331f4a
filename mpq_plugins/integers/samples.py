"""A graph with the samples of every tensor in front, as programs of integers take one sample at a time.

Models carry samples along other axes (``permute(2, 0, 3, 1, 4)`` of queries, keys and values; steps before samples),
and join windows with them. Here each tensor has its samples first, what stood before them behind, and what they were
joined with as an axis of its own after that; axes that ops name follow. What mixes samples stays, and is refused.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mpq_plugins.graph.layout import axis_attributes
from mpq_plugins.graph.node import FLOAT, RAW, Batch, Graph, Node, Shape
from mpq_plugins.graph.ops import op_of
from mpq_plugins.graph.quantized import QuantizedGraph

NEUTRAL = {"starts": 0, "stops": None, "steps": 1, "pads": (0, 0), "times": 1}
"""What attrs with a value for each axis say of one that an op leaves alone."""


def by_samples(quantized: QuantizedGraph) -> QuantizedGraph:
    """The same on tensors whose samples are in front; nodes that have no such form are as they were."""
    graph = quantized.graph
    if all(node.op in RAW or _usual(node.shape) for node in graph.nodes):
        return quantized
    moved = _Pass(graph)
    made = moved.run()
    grid_of = dict(quantized.grid_of)
    for node in made.nodes:
        if node.name not in graph and node.op not in RAW:
            grid_of[node.name] = grid_of[node.inputs[0]]
    return QuantizedGraph(made, quantized.grids, grid_of, quantized.target)


@dataclass(frozen=True)
class Place:
    """Where the samples of a tensor are: behind so many axes, and joined with ``times`` entries each."""

    behind: int
    times: int

    def axis(self, old: int) -> int | None:
        """Where an axis lies with the samples in front; None for that of the samples."""
        if old == self.behind:
            return None
        return old + 1 if old < self.behind else old + (self.times > 1)

    def sizes(self, shape: Shape) -> Shape:
        """A shape with the samples in front."""
        joined = (self.times,) if self.times > 1 else ()
        return (Batch(), *shape[: self.behind], *joined, *shape[self.behind + 1 :])

    def each(self, values: tuple[Any, ...], neutral: Any) -> tuple[Any, ...] | None:
        """A value for each axis; None where that of the samples says something."""
        if values[self.behind] != neutral:
            return None
        joined = (neutral,) if self.times > 1 else ()
        return (neutral, *values[: self.behind], *joined, *values[self.behind + 1 :])

    def array(self, values: Any) -> Any:
        """An array of one sample with as many axes."""
        found = np.moveaxis(np.asarray(values), self.behind, 0)
        return np.expand_dims(found, self.behind + 1) if self.times > 1 else found


def _place(shape: Shape) -> Place | None:
    found = [axis for axis, size in enumerate(shape) if isinstance(size, Batch)]
    if len(found) != 1:
        return None
    (axis,) = found
    size = shape[axis]
    assert isinstance(size, Batch)
    return Place(axis, size.times)


def _usual(shape: Shape) -> bool:
    return _place(shape) == Place(0, 1)


class _Pass:
    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.places = {node.name: _place(node.shape) for node in graph.nodes}
        self.nodes: list[Node] = []
        self.changed: set[str] = set()
        """The nodes whose tensors lie otherwise now."""

    def run(self) -> Graph:
        for node in self.graph.nodes:
            made = self._moved(node)
            if made is not None and not _usual(node.shape):
                self.changed.add(node.name)
            self.nodes.append(node if made is None else made)
        return replace(self.graph, nodes=tuple(self.nodes))

    def _moved(self, node: Node) -> Node | None:
        """The node with its samples in front; None where it stays as it is."""
        place = self.places[node.name]
        sources = [self.places[name] for name in node.inputs]
        stuck = [n for n in node.inputs if not _usual(self.graph[n].shape) and n not in self.changed]
        if node.op == FLOAT or place is None or stuck or None in sources:
            return None
        if node.name in self.graph.integer_outputs and not _usual(node.shape):
            return None
        if all(_usual(self.graph[name].shape) for name in (node.name, *node.inputs)):
            return node
        if node.op in RAW:
            return None
        if node.op in _RULES:
            return _RULES[node.op](self, node, place)
        if op_of(node).images:
            return None
        return self._following(node, place)

    def _following(self, node: Node, place: Place) -> Node | None:
        """An op of tensors whose samples are in one place; constants of one sample follow the others."""
        inputs = []
        for name in node.inputs:
            source = self.places[name]
            assert source is not None
            if source.behind != place.behind or len(self.graph[name].shape) != len(node.shape):
                return None
            if source.times != place.times:
                if source.times != 1 or name in self.graph.computed:
                    return None
                name = self._spread(name, place)
            inputs.append(name)
        attrs = self._axes(node, place)
        if attrs is None:
            return None
        return replace(node, inputs=tuple(inputs), shape=place.sizes(node.shape), attrs=attrs)

    def _axes(self, node: Node, place: Place) -> dict[str, Any] | None:
        """The attrs with the axes that they speak of in their new places; None where they speak of the samples."""
        attrs = dict(node.attrs)
        for name, kind in axis_attributes(node).items():
            value = attrs[name]
            found: Any = place.each(tuple(value), NEUTRAL[name]) if kind == "each" and name in NEUTRAL else None
            if kind == "one":
                found = place.axis(int(value))
            elif kind == "several":
                axes = [place.axis(int(axis)) for axis in value]
                found = None if None in axes else tuple(sorted(axis for axis in axes if axis is not None))
            if found is None:
                return None
            attrs[name] = found
        if attrs.get("mask") is not None:
            attrs["mask"] = place.array(attrs["mask"])
        return attrs

    def _spread(self, name: str, place: Place) -> str:
        """A constant of one sample, with an axis of one where others have what their samples are joined with."""
        spread = f"{name}__joined{place.behind}"
        if all(node.name != spread for node in self.nodes):
            shape = self.graph[name].shape
            joined = Place(place.behind, 2).sizes(shape)
            shape = tuple(1 if axis == place.behind + 1 else size for axis, size in enumerate(joined))
            self.nodes.append(Node(spread, "reshape", (name,), shape))
        return spread

    def _reduced(self, node: Node, place: Place) -> Node | None:
        source = self.places[node.inputs[0]]
        assert source is not None
        attrs = self._axes(node, source)
        return None if attrs is None else replace(node, shape=place.sizes(node.shape), attrs=attrs)

    def _along_neighbours(self, node: Node, place: Place) -> Node | None:
        made = self._following(node, place)
        if made is None:
            return None
        axes = tuple(made.attrs["axes"])
        return made if axes == tuple(range(axes[0], axes[0] + len(axes))) else None

    def _product(self, node: Node, place: Place) -> Node | None:
        return None if place.behind > len(node.shape) - 3 else self._following(node, place)

    def _transposed(self, node: Node, place: Place) -> Node | None:
        source = self.places[node.inputs[0]]
        assert source is not None
        old = [source.axis(axis) for axis in node.attrs["order"]]
        order = [axis for axis in old if axis is not None]
        if place.times > 1:
            order.insert(place.behind, source.behind + 1)
        return replace(node, shape=place.sizes(node.shape), attrs={**node.attrs, "order": (0, *order)})

    def _reshaped(self, node: Node, place: Place) -> Node | None:
        source, before = self.places[node.inputs[0]], self.graph[node.inputs[0]].shape
        assert source is not None
        fronts = [
            math.prod(map(_whole, shape[:behind]))
            for shape, behind in ((before, source.behind), (node.shape, place.behind))
        ]
        return None if fronts[0] != fronts[1] else replace(node, shape=place.sizes(node.shape))

    def _linear(self, node: Node, place: Place) -> Node | None:
        return None if place.behind == len(node.shape) - 1 else self._following(node, place)


def _whole(size: int | Batch) -> int:
    assert isinstance(size, int)
    return size


_RULES: Mapping[str, Callable[[_Pass, Node, Place], Node | None]] = {
    "linear": _Pass._linear,
    "global_avg_pool": _Pass._reduced,
    "normalize": _Pass._along_neighbours,
    "matmul": _Pass._product,
    "transpose": _Pass._transposed,
    "reshape": _Pass._reshaped,
}

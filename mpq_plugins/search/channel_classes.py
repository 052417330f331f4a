"""Which channels of a graph can be scaled, each by any positive factor, and which must be scaled alike.

A factor that a layer puts on an output channel passes ReLUs, sums, poolings, paddings and slices, and is taken back by
the layers that read it: the model's function stays. What meets in a sum has one factor; what a model takes or returns,
and what any other op reads, keeps the factor one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.graph.folding import channel_axis_of
from mpq_plugins.graph.node import INPUT, RAW, Graph, Node
from mpq_plugins.graph.ops import op_of
from mpq_plugins.graph.ops.slice import slices

KEPT = 0
"""The class of channels whose factor is one."""


@dataclass(frozen=True, eq=False)
class Channels:
    """Of a node's output, the axis of its channels and the class of each; channels of one class have one factor."""

    axis: int
    classes: NDArray[np.int64]


def channel_classes(graph: Graph) -> Mapping[str, Channels]:
    """By node; of those nodes alone some of whose channels can be scaled."""
    walk = _Walk(graph)
    for node in graph.nodes:
        walk.visit(node)
    return walk.finish()


@dataclass
class _Walk:
    graph: Graph
    parents: list[int] = field(default_factory=lambda: [KEPT])
    found: dict[str, Channels | None] = field(default_factory=dict)

    def visit(self, node: Node) -> None:
        made = self._made(node)
        if made is None:
            for name in node.inputs:
                self._keep(self.found[name])
        self.found[node.name] = made
        if not _scales(node) or node.name in self.graph.outputs:
            self._keep(made)

    def finish(self) -> dict[str, Channels]:
        roots = np.asarray([self._root(index) for index in range(len(self.parents))])
        by_name = {name: Channels(c.axis, roots[c.classes]) for name, c in self.found.items() if c is not None}
        return {name: channels for name, channels in by_name.items() if channels.classes.any()}

    def _made(self, node: Node) -> Channels | None:
        """The channels of a node's output; None where what it reads must keep its factors."""
        sources = [self.found[name] for name in node.inputs]
        if node.op in RAW or node.op == INPUT:
            return None
        if node.weighted:
            return self._of_layer(node, sources[0])
        if None in sources:
            return None
        known = [source for source in sources if source is not None]
        if node.op == "add":
            return self._of_sum(node, known)
        if node.op == "concat":
            return self._of_concat(node, known)
        (source,) = known if len(known) == 1 else (None,)
        return None if source is None else self._of_moved(node, source)

    def _of_layer(self, node: Node, source: Channels | None) -> Channels | None:
        if sum(other.weight_site == node.weight_site for other in self.graph.layers) > 1:
            return None
        axis = channel_axis_of(self.graph, node)
        if source is not None and source.axis != axis:
            self._keep(source)
        assert node.weight is not None
        return Channels(axis, self._new(len(node.weight)))

    def _of_sum(self, node: Node, sources: list[Channels]) -> Channels | None:
        first, second = sources
        if first.axis != second.axis or not self.graph.alike(*node.inputs):
            return None
        self._join(first.classes, second.classes)
        return first

    def _of_concat(self, node: Node, sources: list[Channels]) -> Channels | None:
        if len({source.axis for source in sources}) > 1:
            return None
        if node.attrs["axis"] == sources[0].axis:
            return Channels(sources[0].axis, np.concatenate([source.classes for source in sources]))
        for source in sources[1:]:
            self._join(sources[0].classes, source.classes)
        return sources[0]

    def _of_moved(self, node: Node, source: Channels) -> Channels | None:
        axis, classes = source.axis, source.classes
        if node.op == "pad":
            before, after = node.attrs["pads"][axis]
            if min(before, after) < 0:
                return None
            return Channels(axis, np.concatenate([self._new(before), classes, self._new(after)]))
        if node.op == "slice":
            return Channels(axis, classes[slices(node.attrs)[axis]])
        if node.op == "reshape":
            return _flattened(self.graph[node.inputs[0]], node, source)
        if node.op == "global_avg_pool":
            gone = [a for a in node.attrs["axes"] if a < axis and not node.attrs["keepdims"]]
            return None if axis in node.attrs["axes"] else Channels(axis - len(gone), classes)
        same = len(node.shape) == len(self.graph[node.inputs[0]].shape) and node.shape[axis] == len(classes)
        return source if op_of(node).passes_scales and same else None

    def _new(self, count: int) -> NDArray[np.int64]:
        first = len(self.parents)
        self.parents.extend(range(first, first + count))
        return np.arange(first, first + count)

    def _root(self, index: int) -> int:
        while self.parents[index] != index:
            self.parents[index] = self.parents[self.parents[index]]
            index = self.parents[index]
        return index

    def _join(self, first: NDArray[np.int64], second: NDArray[np.int64]) -> None:
        for a, b in zip(first.tolist(), second.tolist(), strict=True):
            low, high = sorted((self._root(a), self._root(b)))
            self.parents[high] = low

    def _keep(self, channels: Channels | None) -> None:
        if channels is not None:
            self._join(np.full_like(channels.classes, KEPT), channels.classes)


def _scales(node: Node) -> bool:
    """Whether a factor passes the node's clamp: a ReLU, or one with a bound above that some channels never reach."""
    return node.low in (None, 0.0) and (node.high is None or node.high > 0)


def _flattened(before: Node, node: Node, source: Channels) -> Channels | None:
    """Of features that were images or signals: each channel as many times as it has positions."""
    if len(node.shape) != 2 or len(before.shape) < 2 or node.shape[:1] != before.shape[:1]:
        return None
    sizes = [1, *before.sample_shape]
    if len(sizes) != len(before.shape):
        return None
    shape = [1] * len(sizes)
    shape[source.axis] = len(source.classes)
    return Channels(1, np.broadcast_to(source.classes.reshape(shape), sizes).reshape(-1))

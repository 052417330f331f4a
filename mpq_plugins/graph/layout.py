"""The same graph for a runtime or a format that wants images and signals in the other layout.

Only what looks at rows and columns has to move; what does not care for the order of axes moves with it, so that few
transposes are left. What the model takes and returns, and what float parts and constants hold, stays as it was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mpq_plugins.graph.node import BATCH_NORM, FLOAT, INPUT, RAW, Graph, Layout, Node, Shape
from mpq_plugins.graph.op import AxisAttribute
from mpq_plugins.graph.ops import is_op, op_of
from mpq_plugins.graph.quantized import QuantizedGraph

Order = tuple[int, ...]


@dataclass(frozen=True)
class Converted:
    """A graph in another layout.

    Nodes keep their names. orders: node -> the axes of its output, as axes of what it was, where that changed.
    copies: the transposes that were put in -> the node whose output each one moves.
    """

    graph: Graph
    orders: Mapping[str, Order]
    copies: Mapping[str, str]


def order_to(layout: Layout, rank: int) -> Order:
    """The axes of a tensor in a layout, as axes of the other one.

    >>> order_to("NCHW", 4), order_to("NHWC", 3)
    ((0, 3, 1, 2), (0, 2, 1))
    """
    return (0, rank - 1, *range(1, rank - 1)) if layout == "NCHW" else (0, *range(2, rank), 1)


def to_layout(graph: Graph, layout: Layout) -> Converted:
    """The graph in a layout, which computes the same numbers."""
    if graph.layout == layout:
        return Converted(graph, {}, {})
    return _Converter(graph, layout).convert()


def quantized_to_layout(quantized: QuantizedGraph, layout: Layout) -> tuple[QuantizedGraph, Mapping[str, Order]]:
    """A graph on its grids in a layout, and the orders of ``Converted``."""
    converted = to_layout(quantized.graph, layout)
    on_grids = {copy: name for copy, name in converted.copies.items() if name in quantized.grid_of}
    grid_of = {**quantized.grid_of, **{copy: quantized.grid_of[name] for copy, name in on_grids.items()}}
    moved = QuantizedGraph(converted.graph, quantized.grids, grid_of, quantized.target)
    return moved, converted.orders


@dataclass
class _Converter:
    graph: Graph
    layout: Layout
    nodes: list[Node] = field(default_factory=list)
    moved: set[str] = field(default_factory=set)
    """The nodes whose outputs lie in the new layout."""
    copies: dict[str, str] = field(default_factory=dict)
    made: dict[tuple[str, bool], str] = field(default_factory=dict)
    """(node, whether in the new layout) -> the node that has its output so."""

    def convert(self) -> Converted:
        for node in self.graph.nodes:
            self._visit(node)
        outputs = tuple(self._in(name, False) for name in self.graph.outputs)
        orders = {name: order_to(self.layout, len(self.graph[name].shape)) for name in self.moved}
        return Converted(Graph(tuple(self.nodes), outputs, self.layout), orders, self.copies)

    def _visit(self, node: Node) -> None:
        was = node.attrs.get("was") if node.op == FLOAT else None
        own = node if was is None else replace(was, inputs=node.inputs)
        inside = self._moves(own)
        inputs = tuple(self._in(name, inside) for name in node.inputs)
        outside = inside and self._stays_moved(own)
        changed = replace(own, inputs=inputs)
        if inside:
            order = order_to(self.layout, self._rank(own))
            attrs = {name: _moved(value, axis_attributes(own).get(name), order) for name, value in own.attrs.items()}
            shape = _permuted(own.shape, order_to(self.layout, len(own.shape))) if outside else own.shape
            changed = replace(changed, attrs=attrs, shape=shape)
        if was is not None:
            changed = replace(node, inputs=inputs, shape=changed.shape, attrs={**node.attrs, "was": changed})
        self.nodes.append(changed)
        self.made[node.name, outside] = node.name
        if outside:
            self.moved.add(node.name)

    def _moves(self, node: Node) -> bool:
        """Whether the node computes in the new layout."""
        if node.op == BATCH_NORM:
            return len(node.shape) > 2
        if node.op in (*RAW, INPUT) or not is_op(node) or op_of(node).ordered:
            return False
        if op_of(node).images:
            return True
        ranks = {len(self.graph[name].shape) for name in node.inputs}
        return any(name in self.moved for name in node.inputs) and len(ranks) == 1 and self._can_move(node)

    def _rank(self, node: Node) -> int:
        return len(self.graph[node.inputs[0]].shape)

    def _can_move(self, node: Node) -> bool:
        """Whether the output, if axes are lost, lies in one of the two layouts."""
        if len(node.shape) == self._rank(node):
            return True
        left, before = self._left(node)
        return left == before or self._stays_moved(node)

    def _stays_moved(self, node: Node) -> bool:
        """Whether the output of a node that computes in the new layout lies in it too."""
        if len(node.shape) == self._rank(node):
            return True
        left, before = self._left(node)
        return len(before) > 2 and left == tuple(before[axis] for axis in order_to(self.layout, len(before)))

    def _left(self, node: Node) -> tuple[Order, Order]:
        """The axes that a node leaves, in the new order and in that of before."""
        lost = node.attrs["axes"]
        before = range(self._rank(node))
        order = order_to(self.layout, len(before))
        return tuple(axis for axis in order if axis not in lost), tuple(axis for axis in before if axis not in lost)

    def _in(self, name: str, moved: bool) -> str:
        """The node that has the output of this one in one of the layouts; a transpose, if there is none yet."""
        if (name, moved) not in self.made:
            source = self.graph[name]
            order, shape = order_to(self.layout, len(source.shape)), source.shape
            if moved:
                shape = _permuted(shape, order)
            else:
                order = tuple(order.index(axis) for axis in range(len(order)))
            copy = f"{name}__{(self.layout if moved else self.graph.layout).lower()}"
            while copy in self.graph or copy in self.copies:
                copy += "_"
            node = Node(copy, "transpose", (self.made[name, not moved],), shape, attrs={"order": order})
            if source.op in RAW:
                node = replace(node, op=FLOAT, attrs={"what": "transpose", "was": node})
            self.nodes.append(node)
            self.copies[copy] = name
            self.made[name, moved] = copy
        return self.made[name, moved]


def axis_attributes(node: Node) -> Mapping[str, AxisAttribute]:
    """The attrs of a node that speak of axes."""
    return {"axis": "one"} if node.op == BATCH_NORM else op_of(node).axes


def _permuted(shape: Shape, order: Order) -> Shape:
    return tuple(shape[axis] for axis in order)


def _moved(value: Any, kind: AxisAttribute | None, order: Order) -> Any:
    if kind == "one":
        return order.index(value)
    if kind == "several":
        return tuple(sorted(order.index(axis) for axis in value))
    return _each(value, order) if kind == "each" else value


def _each(values: Sequence[Any], order: Order) -> tuple[Any, ...]:
    return tuple(values[axis] for axis in order)

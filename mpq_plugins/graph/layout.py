"""A graph in another layout: channels last instead of behind the batch, or the other way round.

What looks at rows and columns dictates the layout of its tensors; everything else follows what it reads. Tensors
without an image's layout (tokens, features) stay as they are. Where neither layout fits a tensor, a "transpose" is
put in front of what reads it; where a linear reads flattened images, its columns are permuted instead, which changes
no sum, no grid and no name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mpq_plugins.graph.node import (
    ARGUMENT,
    BATCH_NORM,
    CONSTANT,
    FLOAT,
    RAW,
    Batch,
    Graph,
    Layout,
    Node,
    Operand,
)
from mpq_plugins.graph.op import AxisAttribute
from mpq_plugins.graph.ops import is_op, op_of
from mpq_plugins.graph.order import Axes, Order, as_is, by_axes, image_axes, keeps_elements
from mpq_plugins.graph.quantized import QuantizedGraph


@dataclass(frozen=True)
class Laid:
    """A graph in its new layout. orders: of every node of the old graph, which has its name in the new one too."""

    graph: Graph
    orders: Mapping[str, Order]


def to_layout(graph: Graph, layout: Layout) -> Graph:
    """The same network in another layout; arguments and results that are images are in that layout too."""
    return laid_out(graph, layout).graph


def laid_out(graph: Graph, layout: Layout, keep_ends: bool = False, absorb: bool = True) -> Laid:
    """The same network in another layout, and how its tensors lie.

    keep_ends: arguments and results stay as they are, transposed inside. absorb: let linears take flattened images in
    any order of columns; False transposes in front of the flattening, so that every site is a transpose of itself.
    """
    if graph.layout == layout:
        return Laid(graph, {node.name: Order(as_is(node)) for node in graph.nodes})
    return _Pass(graph, layout, keep_ends, absorb).run()


def quantized_in_layout(
    quantized: QuantizedGraph, layout: Layout, keep_ends: bool = False, absorb: bool = True
) -> tuple[QuantizedGraph, Mapping[str, Order]]:
    """A quantized graph in another layout, on the same grids of the same sites, and how its tensors lie."""
    laid = laid_out(quantized.graph, layout, keep_ends, absorb)
    grid_of = dict(quantized.grid_of)
    for node in laid.graph.nodes:
        if node.name not in quantized.graph and node.op not in RAW:
            grid_of[node.name] = grid_of[node.inputs[0]]
    return QuantizedGraph(laid.graph, quantized.grids, grid_of, quantized.target), laid.orders


class _Pass:
    def __init__(self, graph: Graph, layout: Layout, keep_ends: bool, absorb: bool) -> None:
        self.graph = graph
        self.layout: Layout = layout
        self.keep_ends, self.absorb = keep_ends, absorb
        self.nodes: list[Node] = []
        self.orders: dict[str, Order] = {}
        self.moved: dict[tuple[str, Axes], str] = {}
        self._wanted: dict[str, bool] = {}

    def run(self) -> Laid:
        for node in self.graph.nodes:
            made, order = self.placed(node)
            self.nodes.append(made)
            self.orders[node.name] = order
        outputs = tuple(
            self.source(name, as_is(self.graph[name])) if self.keep_ends else name for name in self.graph.outputs
        )
        return Laid(replace(self.graph, nodes=tuple(self.nodes), outputs=outputs, layout=self.layout), self.orders)

    def placed(self, node: Node) -> tuple[Node, Order]:
        """The node in the new graph, and how its output lies."""
        if node.op == FLOAT:
            return self._float(node)
        if node.op in (ARGUMENT, CONSTANT):
            return self._given(node)
        rule = _RULES.get(node.op)
        if rule is not None:
            return rule(self, node)
        if is_op(node) and op_of(node).images:
            axes = image_axes(len(node.shape), self.layout)
            return self._reading(node, axes), Order(axes)
        return self._following(node)

    def source(self, name: str, axes: Axes) -> str:
        """The node that gives a tensor in an order of axes; a transpose of it, where it lies otherwise."""
        order = self.orders[name]
        if order.axes == axes:
            return name
        if (name, axes) not in self.moved:
            old = self.graph[name]
            added = f"{name}__axes{''.join(map(str, axes))}"
            attrs = {"order": tuple(order.axes.index(axis) for axis in axes)}
            node = Node(added, "transpose", (name,), by_axes(old.shape, axes), attrs=attrs)
            if old.op in RAW:
                node = Node(added, FLOAT, (name,), node.shape, attrs={"what": "transpose", "was": node})
            self.nodes.append(node)
            self.moved[name, axes] = added
        return self.moved[name, axes]

    def _reading(self, node: Node, axes: Axes, inputs: Sequence[str] | None = None, **attrs: Any) -> Node:
        """The node with its inputs and output in an order of axes, and some attrs changed."""
        sources = inputs or [self.source(name, axes) for name in node.inputs]
        changed = {**node.attrs, **attrs}
        return replace(node, inputs=tuple(sources), shape=by_axes(node.shape, axes), attrs=changed)

    def _given(self, node: Node) -> tuple[Node, Order]:
        kept = node.op == ARGUMENT and self.keep_ends
        axes = image_axes(len(node.shape), self.layout) if not kept and self._feeds_images(node) else as_is(node)
        if node.op == CONSTANT:
            value = np.asarray(node.attrs["value"])
            if value.ndim == len(axes):
                node = replace(node, attrs={**node.attrs, "value": value.transpose(axes)})
            else:
                axes = as_is(node)
        return replace(node, shape=by_axes(node.shape, axes)), Order(axes)

    def _float(self, node: Node) -> tuple[Node, Order]:
        """What it was moves as that would; functions of one element and along one axis follow what they read."""
        was = node.attrs.get("was")
        if was is not None:
            moved, order = self.placed(replace(was, name=node.name, inputs=node.inputs))
            attrs = {**node.attrs, "was": moved}
            return Node(node.name, FLOAT, moved.inputs, moved.shape, attrs=attrs), order
        arguments = node.attrs.get("arguments", {})
        plain = {name for name, value in arguments.items() if not isinstance(value, Operand)}
        known = "function" in node.attrs and plain <= {"axis"}
        if len(node.inputs) != 1 or not known or not self._same_rank(node):
            return self._reading_as_is(node)
        axes = self.orders[node.inputs[0]].axes
        if "axis" in plain:
            if not isinstance(arguments["axis"], int):
                return self._reading_as_is(node)
            axis = axes.index(int(arguments["axis"]) % len(axes))
            return self._reading(node, axes, arguments={**arguments, "axis": axis}), Order(axes)
        return self._reading(node, axes), Order(axes)

    def _reading_as_is(self, node: Node) -> tuple[Node, Order]:
        inputs = tuple(self.source(name, as_is(self.graph[name])) for name in node.inputs)
        return replace(node, inputs=inputs), Order(as_is(node))

    def _same_rank(self, node: Node) -> bool:
        return all(len(self.graph[name].shape) == len(node.shape) for name in node.inputs)

    def _following(self, node: Node) -> tuple[Node, Order]:
        """An op that does the same to every axis, or to some that its attrs name: it takes the order of its inputs."""
        if not self._same_rank(node):
            return self._reading_as_is(node)
        orders = [self.orders[name] for name in node.inputs]
        if len(orders) == 1:
            axes = orders[0].axes
        else:
            found = [order.axes for order in orders if order.axes != as_is(node)]
            axes = found[0] if found else as_is(node)
        moved: dict[str, Any] = {}
        for name, kind in axis_attributes(node).items():
            value = node.attrs[name]
            moved[name] = axes.index(int(value)) if kind == "one" else by_axes(value, axes)
        return self._reading(node, axes, **moved), Order(axes, orders[0].columns if len(orders) == 1 else None)

    def _linear(self, node: Node) -> tuple[Node, Order]:
        source = self.orders[node.inputs[0]]
        last = len(node.shape) - 1
        axes = source.axes if source.axes[-1] == last else as_is(node)
        if source.columns is not None:
            assert node.weight is not None
            node = replace(node, weight=np.ascontiguousarray(node.weight[:, source.columns]))
        return self._reading(node, axes), Order(axes)

    def _mean(self, node: Node) -> tuple[Node, Order]:
        axes = self.orders[node.inputs[0]].axes
        over = tuple(int(axis) % len(axes) for axis in node.attrs["axes"])
        left = axes if node.attrs["keepdims"] else tuple(axis for axis in axes if axis not in over)
        ranks = sorted(left)
        out = tuple(ranks.index(axis) for axis in left)
        attrs = {**node.attrs, "axes": tuple(sorted(axes.index(axis) for axis in over))}
        return replace(node, shape=by_axes(node.shape, out), attrs=attrs), Order(out)

    def _along_neighbours(self, node: Node) -> tuple[Node, Order]:
        """What works along neighbouring axes, which must stay neighbours."""
        axes = self.orders[node.inputs[0]].axes
        over = sorted(axes.index(axis) for axis in node.attrs["axes"])
        if over != list(range(over[0], over[0] + len(over))):
            return self._reading_as_is(node)
        made = self._reading(node, axes)
        return replace(made, attrs={**made.attrs, "axes": tuple(over)}), Order(axes)

    def _softmax(self, node: Node) -> tuple[Node, Order]:
        """A mask lies as the tensor that it is put on does."""
        masked = len(node.inputs) > 1 or node.attrs.get("mask") is not None
        return self._reading_as_is(node) if masked else self._following(node)

    def _transpose(self, node: Node) -> tuple[Node, Order]:
        axes = self.orders[node.inputs[0]].axes
        orders = {out: tuple(axes.index(node.attrs["order"][axis]) for axis in out) for out in self._candidates(node)}
        nothing = [out for out, order in orders.items() if order == as_is(node)]
        out = nothing[0] if nothing else next(iter(orders))
        attrs = {**node.attrs, "order": orders[out]}
        return replace(node, shape=by_axes(node.shape, out), attrs=attrs), Order(out)

    def _reshape(self, node: Node) -> tuple[Node, Order]:
        name = node.inputs[0]
        before, axes = self.graph[name], self.orders[name].axes
        for out in self._candidates(node):
            if keeps_elements(before.shape, axes, node.shape, out):
                return replace(node, shape=by_axes(node.shape, out)), Order(out)
        if self._is_absorbed(node, before, axes):
            sizes = [int(size) for size in before.shape[1:] if not isinstance(size, Batch)]
            index = np.arange(np.prod(sizes)).reshape(sizes).transpose([axis - 1 for axis in axes[1:]])
            return node, Order(as_is(node), index.ravel())
        return self._reading_as_is(node)

    def _candidates(self, node: Node) -> list[Axes]:
        """The orders that an op which moves axes may choose for its output, the better first."""
        found = [as_is(node)]
        if len(node.shape) > 2:
            found.append(image_axes(len(node.shape), self.layout))
        return found[::-1] if self._feeds_images(node) else found

    def _is_absorbed(self, node: Node, before: Node, axes: Axes) -> bool:
        """Whether the node flattens samples that linears alone read, so that they can take any order of columns."""
        flat = len(node.shape) == 2 and isinstance(node.shape[0], Batch) and node.shape[0] == before.shape[0]
        return self.absorb and flat and axes[0] == 0 and self._feeds_linears_only(node)

    def _feeds_linears_only(self, node: Node) -> bool:
        readers = self.graph.readers(node.name)
        if node.name in self.graph.outputs or not readers:
            return False
        for reader in readers:
            if reader.op == "linear":
                calls = [other for other in self.graph.layers if other.weight_site == reader.weight_site]
                if len(calls) > 1:
                    return False
            elif not (_elementwise(reader) and self._feeds_linears_only(reader)):
                return False
        return True

    def _feeds_images(self, node: Node) -> bool:
        """Whether something that looks at rows and columns reads the tensor, at once or behind ops that follow."""
        if node.name not in self._wanted:
            self._wanted[node.name] = len(node.shape) > 2 and any(
                self._looks_at_images(reader) or (_follows(reader) and self._feeds_images(reader))
                for reader in self.graph.readers(node.name)
            )
        return self._wanted[node.name]

    def _looks_at_images(self, node: Node) -> bool:
        node = node.attrs.get("was") or node
        return is_op(node) and op_of(node).images


def axis_attributes(node: Node) -> Mapping[str, AxisAttribute]:
    """The attrs of a node that speak of axes."""
    found: Mapping[str, AxisAttribute] = {"axis": "one"} if node.op == BATCH_NORM else op_of(node).axes
    return {name: kind for name, kind in found.items() if name in node.attrs}


def _elementwise(node: Node) -> bool:
    return is_op(node) and (node.op == "clamp" or op_of(node).table)


def _follows(node: Node) -> bool:
    """Whether the op's output lies as its input does."""
    return (is_op(node) and (node.op not in _RULES or node.op in ("normalize", "softmax"))) or (
        node.op == "global_avg_pool" and bool(node.attrs["keepdims"])
    )


_RULES: Mapping[str, Callable[[_Pass, Node], tuple[Node, Order]]] = {
    "linear": _Pass._linear,
    "global_avg_pool": _Pass._mean,
    "matmul": _Pass._reading_as_is,
    "normalize": _Pass._along_neighbours,
    "softmax": _Pass._softmax,
    "transpose": _Pass._transpose,
    "reshape": _Pass._reshape,
    BATCH_NORM: _Pass._following,
}

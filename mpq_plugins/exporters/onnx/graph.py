"""From a graph on its grids to an ONNX graph: a walk over its nodes, each of which has one form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from mpq_plugins.exporters.onnx.float_functions import float_function
from mpq_plugins.exporters.onnx.layers import layer
from mpq_plugins.exporters.onnx.moves import MOVES, clamped
from mpq_plugins.exporters.onnx.reals import real
from mpq_plugins.exporters.onnx.sizes import Sizes
from mpq_plugins.exporters.onnx.writer import Codes, GraphWriter, Value
from mpq_plugins.graph.node import ARGUMENT, CONSTANT, FLOAT, INPUT, Node
from mpq_plugins.graph.ops import op_of
from mpq_plugins.graph.order import Axes
from mpq_plugins.graph.quantized import QuantizedGraph, clamp_codes


class Walk:
    """Writes the nodes of a graph in NCHW; ``values`` holds the tensor of the ONNX graph for each.

    orders: node -> the axes of its output, as axes of what it was, where that changed.
    """

    def __init__(
        self, writer: GraphWriter, quantized: QuantizedGraph, sizes: Sizes, orders: Mapping[str, Axes] | None = None
    ) -> None:
        assert quantized.graph.layout == "NCHW"
        self.writer = writer
        self.quantized = quantized
        self.graph = quantized.graph
        self.sizes = sizes
        self.orders = orders or {}
        self.values: dict[str, Value] = {}

    def write(self) -> list[str]:
        """Write all nodes; returns the float tensors with which the integer part ends.

        Raises UnsupportedOp, naming the op, for one that has no form in ONNX, and ModelError for two open dimensions.
        """
        for node in self.graph.nodes:
            self.sizes.check(node)
            self.values[node.name] = self._value(node)
            if node.op == INPUT and self.graph[node.inputs[0]].op == FLOAT:
                self.writer.float_parts[node.inputs[0]] = self.writer.float_of(self.values[node.inputs[0]])
        for name in (*self.writer.sites, *self.writer.float_parts):
            if name in self.orders:
                self.writer.orders[name] = self.orders[name]
        for index, name in enumerate(self.graph.outputs):
            output = "output" if len(self.graph.outputs) == 1 else f"output_{index}"
            self.writer.output(output, self.values[name], self.sizes.declared(self.graph[name].shape))
        ends = {name: self.writer.float_of(self.values[name]) for name in self.graph.integer_outputs}
        self.writer.end_orders.update(
            {tensor: self.orders[name] for name, tensor in ends.items() if name in self.orders}
        )
        return list(ends.values())

    def _value(self, node: Node) -> Value:
        if node.op == ARGUMENT:
            return self.writer.input(node.name, self.sizes.declared(node.shape))
        if node.op == CONSTANT:
            return self.writer.constant(f"{node.name}/constant", node.attrs["value"])
        parts = [self.values[name] for name in node.inputs]
        if node.op == FLOAT:
            return self._float(node, parts)
        return self._on_grid(node, f"{node.name}/codes", parts)

    def _on_grid(self, node: Node, name: str, parts: Sequence[Value]) -> Value:
        writer, op = self.writer, op_of(node)
        if node.op in MOVES:
            moved = clamped(writer, node, f"{name}.clamp", MOVES[node.op](writer, node, name, parts, self.sizes))
            return self._noted(node, moved)
        grid = self.quantized.grid(node)
        if node.op == INPUT:
            return self._input(node, name, parts[0])
        if op.weighted:
            assert isinstance(parts[0], Codes)
            return layer(writer, self.quantized, node, name, parts[0], self.sizes)
        if op.table and node.op not in self.quantized.runtime.functions:
            assert isinstance(parts[0], Codes)
            return self._looked_up(node, name, parts[0])
        values = [writer.float_of(part) for part in parts]
        result = real(writer, self.graph, node, f"{name}.real", values)
        return writer.quantize(result, node.site, name, grid, clamp_codes(node, grid))

    def _noted(self, node: Node, moved: Value) -> Value:
        """An op that has a site of its own, though it computes nothing."""
        if isinstance(moved, Codes) and self.quantized.grid_of[node.name] == node.site:
            self.writer.sites[node.site] = (moved.name, moved.container.zero_point)
        return moved

    def _input(self, node: Node, name: str, x: Value) -> Codes:
        grid = self.quantized.grid(node)
        source = self.graph[node.inputs[0]]
        if source.op == CONSTANT:
            return self.writer.on_grid(np.asarray(source.attrs["value"], np.float32), node.site, name, grid)
        return self.writer.quantize(self.writer.float_of(x), node.site, name, grid, clamp_codes(node, grid))

    def _looked_up(self, node: Node, name: str, x: Codes) -> Codes:
        """A function of one element as a table of the codes of its output."""
        writer, grid, source = self.writer, self.quantized.grid(node), self.quantized.grid(node.inputs[0])
        table = writer.on_grid(self.quantized.table(node) * grid.steps[0], node.site, f"{name}.table", grid)
        # an index from zero up: stored codes less the lowest one
        index = writer.node("Cast", [x.name], f"{name}.stored", to=writer.onnx.TensorProto.INT32)
        lowest = writer.constant(f"{name}.lowest", source.low + x.container.zero_point, "int32")
        index = writer.node("Sub", [index, lowest], f"{name}.index")
        made = Codes(writer.node("Gather", [table.name, index], name), grid, table.container)
        writer.sites[node.site] = (made.name, made.container.zero_point)
        return made

    def _float(self, node: Node, parts: Sequence[Value]) -> Value:
        """An op that stays float."""
        writer, name = self.writer, f"{node.name}/float"
        values = [writer.float_of(part) for part in parts]
        was = node.attrs.get("was")
        if was is None:
            made = float_function(writer, node, name, values)
            if isinstance(made, str):
                return made
            was = made
        was = replace(was, inputs=node.inputs)  # a fused clamp that it read has another name
        if was.op in MOVES:
            result = MOVES[was.op](writer, was, name, values, self.sizes)
        else:
            result = real(writer, self.graph, was, name, values)
        return clamped(writer, was, f"{name}.clamp", result)

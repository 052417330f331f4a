"""A quantized graph as an integer program, built from its nodes alone."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.graph import arithmetic
from mpq_plugins.graph.integer_steps import Movement
from mpq_plugins.graph.lookups import table_of_rows
from mpq_plugins.graph.node import CONSTANT, INPUT, RAW, Node, check_batches
from mpq_plugins.graph.numpy_runner import NUMPY_RUNNER
from mpq_plugins.graph.ops import op_of
from mpq_plugins.graph.quantized import QuantizedGraph, clamp_codes
from mpq_plugins.graph.runner import Sides, Sizes
from mpq_plugins.graph.weights import flipped
from mpq_plugins.grid import Grid
from mpq_plugins.integers import laws, steps
from mpq_plugins.integers.lowerable import check_lowerable
from mpq_plugins.integers.lowering import ProgramBuilder, check_steps
from mpq_plugins.integers.program import Layout, Program
from mpq_plugins.integers.samples import by_samples
from mpq_plugins.integers.table_steps import Lookup, Normalize, Rows, Softmax

LAYOUTS: dict[str, Layout] = {"NCHW": "channels_first", "NHWC": "channels_last"}


def program_of(quantized: QuantizedGraph, name: str, framework: str) -> Program:
    """The graph as integer codes, step exponents, int32 biases and shifts, up to what is float at its end.

    name: of the program, which its C header is named after. framework: what the model was read with, for the record.

    The program computes what ``graph.simulation`` computes, for every target. Raises GridError where a step is no power
    of two, and UnsupportedOp, with all names (``names``), for what has no place in a program of integers.
    """
    check_steps(quantized.grids)
    check_batches(quantized.graph)
    quantized = by_samples(quantized)
    check_lowerable(quantized.graph)
    quantized.check_words("a program of integers knows")
    return _Lowering.of(quantized, name, framework).run()


@dataclass(frozen=True)
class _Lowering:
    """The steps that ops ask for (graph.integer_steps.IntegerSteps), as those of a program."""

    quantized: QuantizedGraph
    builder: ProgramBuilder
    names: dict[str, str] = field(default_factory=dict)
    """The tensor that holds a node's output."""

    @classmethod
    def of(cls, quantized: QuantizedGraph, name: str, framework: str) -> _Lowering:
        layout = LAYOUTS[quantized.graph.layout]
        builder = ProgramBuilder(name, quantized.target.name, framework, layout)
        return cls(quantized, builder)

    def run(self) -> Program:
        graph = self.quantized.graph
        for node in graph.nodes:
            if node.op not in RAW:
                self._lower(node)
        outputs = [self.names[name] for name in graph.integer_outputs]
        behind = [name for name in graph.float_ops if table_of_rows(graph, graph[name]) is None]
        return self.builder.finish(outputs, behind)

    def _lower(self, node: Node) -> None:
        op = op_of(node)
        if node.op == INPUT:
            self._enter(node)
        elif op.table:
            self._look_up(node)
        else:
            assert op.integers is not None
            op.integers(self, node)
        if not op.table and (node.low is not None or node.high is not None):
            self._clamp(node)

    def _clamp(self, node: Node) -> None:
        """The node's own clamp, behind what it computes; fused into that where it can be."""
        source, grid = self.names[node.name], self.quantized.grid(node)
        name = node.name if op_of(node).grid == "alias" else f"{node.name}.clamp"
        self.names[node.name] = self.builder.like(source, name, node.sample_shape)
        self.builder.steps.append(steps.Bound(self.names[node.name], (source,), *clamp_codes(node, grid)))

    def _enter(self, node: Node) -> None:
        grid, entry = self.quantized.grid(node), self.quantized.runtime.entry
        name, rounding = self._output(node), self.quantized.rounding_word(node)
        source = self.quantized.graph[node.inputs[0]]
        table = table_of_rows(self.quantized.graph, source)
        if source.op != CONSTANT and table is None:
            self.builder.inputs.append(laws.entrance(name, grid, entry, rounding))
            return
        values = np.asarray(source.attrs["value"])[0] if table is None else table
        codes = np.asarray(arithmetic.entered(NUMPY_RUNNER, values, grid, entry, rounding)).astype(np.int32)
        if table is None:
            self.builder.arrays[f"{name}.codes"] = codes
            self.builder.steps.append(steps.Constant(name, f"{name}.codes"))
            return
        numbers = self.quantized.graph[source.inputs[0]]
        self.builder.row_numbers(numbers.name, numbers.sample_shape, len(codes))
        self.builder.steps.append(Rows(name, (numbers.name,), self.builder.table(f"{name}.rows", codes)))

    def _look_up(self, node: Node) -> None:
        name = self._output(node)
        table = f"{name}.table"
        self.builder.arrays[table] = self.quantized.table(node).astype(np.int32)
        first = self.quantized.grid(node.inputs[0]).low
        self.builder.steps.append(Lookup(name, self._source(node), table, first))

    def linear(self, node: Node) -> None:
        weight, bias = self._weight_and_bias(node, self.quantized.layer(node).weight)
        stages, bits = self._requantized(node, weight, bias)
        self.builder.steps.append(steps.Linear(self._output(node), self._source(node), weight, bias, bits, stages))

    def convolution(
        self, node: Node, stride: Sizes, padding: Sides, dilation: Sizes, groups: int, spread: Sizes | None = None
    ) -> None:
        codes = self.quantized.layer(node).weight
        codes = codes if spread is None else flipped(codes)
        codes = codes[:, :, None] if codes.ndim == 3 else codes
        weight, bias = self._weight_and_bias(node, codes.transpose(0, 2, 3, 1))
        stages, bits = self._requantized(node, weight, bias)
        source, sides = self._source(node), _sides(padding)
        if spread is not None:
            source, sides = (self._spread(node, padding, dilation, spread),), (0, 0, 0, 0)
        self.builder.steps.append(
            steps.Conv(
                self._output(node), source, weight, bias, _pair(stride), sides, _pair(dilation), groups, bits, stages
            )
        )

    def _weight_and_bias(self, node: Node, codes: NDArray[np.integer[Any]]) -> tuple[str, str]:
        grid = self.quantized.weight_grid(node)
        weight = self.builder.weight(node.weight_site, codes, grid)
        return weight, self.builder.bias(node.name, node.biases, grid, self.quantized.grid(node.inputs[0]))

    def _requantized(self, node: Node, weight: str, bias: str) -> tuple[tuple[steps.Stage, ...], Any]:
        quantized, (source,) = self.quantized, self._source(node)
        how = quantized.accumulation(node)
        return self.builder.layer_stages(weight, bias, source, quantized.grid(node), quantized.rounding_word(node), how)

    def _spread(self, node: Node, padding: Sides, dilation: Sizes, spread: Sizes) -> str:
        """The layer's input with zeros between its elements, and as much around them as the windows reach."""
        (source,) = self._source(node)
        assert node.weight is not None
        kernel = node.weight.shape[2:]
        outside = self._images(node.sample_shape)
        sizes = [n + d * (k - 1) for n, d, k in zip(outside, dilation, kernel, strict=True)]
        whole = self.quantized.graph[node.inputs[0]].sample_shape
        before = tuple(side for side, _ in padding)
        if self.quantized.graph.layout == "NCHW":
            shape, before, insert = (whole[0], *sizes), (0, *before), (1, *spread)
        else:
            shape, before, insert = (*sizes, whole[-1]), (*before, 0), (*spread, 1)
        name = self.builder.like(source, f"{source}.spread", shape)
        ones, order = (1,) * len(shape), tuple(range(len(shape)))
        self.builder.steps.append(steps.Move(name, (source,), "zero_stuff", order, before, ones, ones, insert))
        return name

    def add(self, node: Node) -> None:
        graph, runtime, rounding = self.quantized.graph, self.quantized.runtime, self.quantized.rounding_word(node)
        if not graph.alike(*node.inputs) and runtime.broadcast_rounding is not None:
            rounding = runtime.broadcast_rounding
        first, second = node.inputs
        sources = (self.names[first], self.names[second])
        how = runtime.sums_at(self.quantized.gains(node))
        assert isinstance(how, str)
        self.builder.add(self._output(node), sources, self.quantized.grid(node), rounding, how)

    def multiply(self, node: Node) -> None:
        runtime, rounding = self.quantized.runtime, self.quantized.rounding_word(node)
        first, second = (self.names[name] for name in node.inputs)
        grid = self.quantized.grid(node)
        how = runtime.products_at(*self.quantized.gains(node))
        assert isinstance(how, str)
        self.builder.multiply(self._output(node), (first, second), grid, rounding, how)

    def matmul(self, node: Node) -> None:
        first, second = (self.names[name] for name in node.inputs)
        inner = self.builder.tensors[first].shape[-1]
        how = self.quantized.accumulation(node)
        grid, rounding = self.quantized.grid(node), self.quantized.rounding_word(node)
        self.builder.matmul(self._output(node), (first, second), inner, grid, rounding, how)

    def normalize(self, node: Node, axes: Sizes) -> None:
        law, grid = self.quantized.norm(node), self.quantized.grid(node)
        name, source = self._output(node), self._source(node)
        table = self.builder.table(f"{name}.roots", law.table)
        own = tuple(axis - 1 for axis in axes)
        constants = (
            law.centered,
            law.fraction,
            law.square_fraction,
            law.epsilon,
            law.shift,
            table,
            grid.low,
            grid.high,
        )
        self.builder.steps.append(Normalize(name, source, own, *constants))

    def softmax(self, node: Node, axis: int) -> None:
        law, grid = self.quantized.softmax(node), self.quantized.grid(node)
        name, source = self._output(node), self._source(node)
        if law.hidden is not None:
            source = (self.builder.hidden(source[0], name, law.hidden[0], law.below),)
        table = self.builder.table(f"{name}.powers", law.table)
        self.builder.steps.append(Softmax(name, source, axis - 1, law.steps, table, grid.low, grid.high))

    def mean(self, node: Node, axes: Sizes) -> None:
        (source,) = self._source(node)
        own = tuple(axis - 1 for axis in axes)
        tensor = self.builder.tensors[source]
        count = math.prod(tensor.shape[axis] for axis in own)
        stages = laws.MEANS[self.quantized.runtime.means](count, tensor.largest, self.quantized.rounding_word(node))
        bits = self.builder.sum_bits(source, count)
        clamp = _clamp_to(self.quantized.grid(node))
        self.builder.steps.append(steps.Mean(self._output(node), (source,), own, bits, (*stages, clamp)))

    def average_pool(self, node: Node) -> None:
        a, law = node.attrs, laws.AVERAGES[self.quantized.runtime.averages]
        source, padding = self._source(node), a["padding"]
        offset = law.offset(self.quantized.grid(node))
        if offset and a["counts_padding"] and any(side for sides in padding for side in sides):
            # the padding holds code zero, which is stored as the zero point; the step's own padding would add nothing
            source, padding = (self._padded(node, padding),), ((0, 0),) * len(padding)
        self.builder.steps.append(
            steps.AveragePool(
                self._output(node),
                source,
                _pair(a["kernel"]),
                _pair(a["stride"]),
                _sides(padding),
                bool(a["counts_padding"]),
                offset,
                law.rounding or self.quantized.rounding_word(node),
            )
        )

    def _padded(self, node: Node, padding: Sides) -> str:
        """The node's input with zeros around its rows and columns."""
        (source,) = self._source(node)
        whole = self.builder.tensors[source].shape
        none = ((0, 0),)
        sides = (*none, *padding) if self.quantized.graph.layout == "NCHW" else (*padding, *none)
        shape = tuple(n + before + after for n, (before, after) in zip(whole, sides, strict=True))
        name = self.builder.like(source, f"{source}.padded", shape)
        ones, order = (1,) * len(shape), tuple(range(len(shape)))
        before = tuple(side for side, _ in sides)
        self.builder.steps.append(steps.Move(name, (source,), "pad", order, before, ones, ones, ones))
        return name

    def max_pool(self, node: Node) -> None:
        a = node.attrs
        geometry = _pair(a["kernel"]), _pair(a["stride"]), _sides(a["padding"]), _pair(a["dilation"])
        self.builder.steps.append(steps.MaxPool(self._output(node), self._source(node), *geometry))

    def concat(self, node: Node, axis: int) -> None:
        sources = tuple(self.names[name] for name in node.inputs)
        self.builder.steps.append(steps.Concat(self._output(node), sources, axis - 1))

    def move(
        self,
        node: Node,
        kind: Movement,
        *,
        order: Sizes | None = None,
        before: Sizes | None = None,
        step: Sizes | None = None,
        repeat: Sizes | None = None,
    ) -> None:
        rank = len(node.shape) - 1
        ones, zeros = (1,) * rank, (0,) * rank
        self.builder.steps.append(
            steps.Move(
                self._output(node),
                self._source(node),
                kind,
                order=tuple(range(rank)) if order is None else tuple(axis - 1 for axis in order[1:]),
                before=zeros if before is None else before[1:],
                step=ones if step is None else step[1:],
                repeat=ones if repeat is None else repeat[1:],
                insert=ones,
            )
        )

    def reshape(self, node: Node) -> None:
        self.builder.steps.append(steps.Reshape(self._output(node), self._source(node)))

    def same(self, node: Node) -> None:
        self.names[node.name] = self.names[node.inputs[0]]

    def _output(self, node: Node) -> str:
        """The tensor that the node's step writes."""
        name = self.builder.tensor(node.site, node.sample_shape, self.quantized.grid(node))
        self.names[node.name] = name
        return name

    def _source(self, node: Node) -> tuple[str]:
        return (self.names[node.inputs[0]],)

    def _images(self, shape: Sizes) -> Sizes:
        return shape[1:] if self.quantized.graph.layout == "NCHW" else shape[:-1]


def _clamp_to(grid: Grid) -> steps.Clamp:
    return steps.Clamp(grid.low, grid.high)


def _pair(sizes: Sizes) -> steps.Pair:
    """Rows and columns; the rows of a signal are one."""
    return (1, sizes[0]) if len(sizes) == 1 else (sizes[0], sizes[1])


def _sides(padding: Sides) -> steps.Sides:
    """Top, bottom, left and right."""
    rows, columns = padding if len(padding) == 2 else ((0, 0), padding[0])
    return (*rows, *columns)

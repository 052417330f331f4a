"""The simulation of a recipe: a graph computed with the numbers of the target's integer kernels.

Every tensor on a grid is held as its codes, whole numbers in float32. Layers accumulate codes exactly (in float64
where float32 could round), biases lie on the accumulator's grid, and each op rounds as the target and its runtime's
table say.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.graph import arithmetic
from mpq_plugins.graph.evaluation import FloatModel, run_nodes
from mpq_plugins.graph.integer_norm import normalized
from mpq_plugins.graph.integer_softmax import softmaxed
from mpq_plugins.graph.node import CONSTANT, FLOAT, INPUT, RAW, Graph, Node
from mpq_plugins.graph.ops import op_of
from mpq_plugins.graph.ops.global_avg_pool import elements
from mpq_plugins.graph.quantized import QuantizedGraph, clamp_codes
from mpq_plugins.graph.runner import Precision, Runner, Tensor
from mpq_plugins.graph.windows import divisor, with_overhang
from mpq_plugins.grid import Grid


@dataclass(frozen=True)
class Simulation:
    """A quantized graph, and the arithmetic that computes it. runner: of the framework whose tensors go in and out."""

    quantized: QuantizedGraph
    runner: Runner
    _tensors: dict[str, tuple[Any, ...]] = field(default_factory=dict, repr=False)
    """What nodes compute with, by node: weight and bias, or the table of a function."""

    @property
    def graph(self) -> Graph:
        """The graph, weights and biases on their grids."""
        return self.quantized.graph

    @cached_property
    def _floats(self) -> FloatModel:
        return FloatModel(self.graph, self.runner)

    def outputs(self, arguments: Sequence[Tensor]) -> list[Tensor]:
        """What the model returns, as float tensors."""
        wanted = self.graph.outputs
        found = self.run(arguments, wanted)
        return [self.value(name, found[name]) for name in wanted]

    def sites(self, arguments: Sequence[Tensor]) -> dict[str, Tensor]:
        """The values of every activation site, as float tensors of grid values."""
        nodes = {
            node.site: node.name for node in self.graph.nodes if self.quantized.grid_of.get(node.name) == node.site
        }
        found = self.run(arguments, nodes.values())
        return {site: self.value(name, found[name]) for site, name in nodes.items()}

    def value(self, name: str, held: Tensor) -> Tensor:
        """What ``run`` holds of a node as a float tensor: codes times their step.

        Zero has no sign, as in a runtime: a code that was rounded to -0.0 would turn an atan2 or 1 / x around.
        """
        if self.graph[name].op in RAW:
            return held
        return arithmetic.values_of(self.runner, held, self.quantized.grid(name)) + 0.0

    def run(
        self,
        arguments: Sequence[Any],
        wanted: Collection[str] | None = None,
        given: Mapping[str, Any] | None = None,
    ) -> dict[str, Any]:
        """Codes (of raw nodes: float tensors) by node; of the wanted nodes, or of all.

        arguments: of the model, tensors of the runner's framework. given: what float nodes give, where another than the
        framework has computed them.
        """
        known = given or {}

        def step(node: Node, inputs: Sequence[Tensor]) -> Tensor:
            return known[node.name] if node.name in known else self.step(node, inputs)

        return run_nodes(self.graph, arguments, step, wanted)

    def step(self, node: Node, inputs: Sequence[Tensor]) -> Tensor:
        """The codes of one node's output from those of its inputs; float tensors go into and come out of raw nodes."""
        run = self.runner
        if node.op == CONSTANT:
            return run.tensor(node.attrs["value"])
        if node.op == FLOAT:
            values = [self.value(name, held) for name, held in zip(node.inputs, inputs, strict=True)]
            return self._floats.step(node, values)
        grid = self.quantized.grid(node)
        if node.op == INPUT:
            codes = arithmetic.entered(
                run, inputs[0], grid, self.quantized.runtime.entry, self.quantized.rounding(node)
            )
        else:
            codes = self._computed(node, grid, inputs)
        if node.low is None and node.high is None:
            return codes
        ends = clamp_codes(node, grid)
        if ends == (grid.low, grid.high) and (node.op == INPUT or op_of(node).computes):
            return codes  # which lie on the grid
        return arithmetic.clipped(run, codes, *ends)

    def ready(self, node: Node) -> None:
        """Make what a layer computes with, once, before several threads ask for it."""
        if node.op not in RAW and op_of(node).weighted:
            self._weight_and_bias(node)

    def forget(self, node: Node) -> None:
        """Let go of what the node computed with."""
        self._tensors.pop(node.name, None)
        self.quantized.forget(node)

    def _computed(self, node: Node, grid: Grid, inputs: Sequence[Tensor]) -> Tensor:
        op = op_of(node)
        if not op.computes:
            return op.value(self.runner, node, *inputs)
        if op.table:
            return self._looked_up(node, inputs[0])
        made = self._layer(node, grid, inputs[0]) if op.weighted else _RULES[node.op](self, node, grid, inputs)
        made = self.runner.to_precision(made, "float32")
        return arithmetic.clipped(self.runner, made, grid.low, grid.high)

    def _wide(self, node: Node) -> bool:
        """Whether a layer accumulates in float64."""
        return self.quantized.layer(node).wide or self.quantized.accumulation(node) != "float32"

    def _precision(self, node: Node) -> Precision:
        return "float64" if self._wide(node) else "float32"

    def _weight_and_bias(self, node: Node) -> tuple[Tensor, ...]:
        if node.name not in self._tensors:
            codes, precision = self.quantized.layer(node), self._precision(node)
            tensors = (self.runner.tensor(array, precision) for array in (codes.weight, codes.bias))
            self._tensors[node.name] = tuple(tensors)
        return self._tensors[node.name]

    def _layer(self, node: Node, grid: Grid, x: Tensor) -> Tensor:
        run, quantized = self.runner, self.quantized
        weight, bias = self._weight_and_bias(node)
        accumulator = op_of(node).value(run, node, run.to_precision(x, self._precision(node)), weight, bias)
        source, steps = quantized.grid(node.inputs[0]), np.asarray(quantized.weight_grid(node).steps, np.float32)
        how = quantized.accumulation(node)
        if how != "float32":
            wide = steps.astype(np.float64)
            scale = float(arithmetic.step_of(source)) * wide / float(arithmetic.step_of(grid))
            upward = self._along_channels(node, arithmetic.shifted_upward(how, len(node.biases)))
            return arithmetic.fixed_point_product(run, accumulator, self._along_channels(node, scale), upward)
        factor = self._along_channels(node, arithmetic.step_of(source) * steps / arithmetic.step_of(grid))
        return arithmetic.requantized(run, accumulator, factor, quantized.rounding(node))

    def _along_channels(self, node: Node, values: NDArray[Any]) -> NDArray[Any]:
        """One number, or one per output channel, shaped to broadcast against the node's output."""
        if len(values) == 1:
            return values.reshape(())
        images = op_of(node).images and self.graph.layout == "NCHW"
        assert node.weight is not None
        return values.reshape(-1, *(1,) * (node.weight.ndim - 2)) if images else values

    def _looked_up(self, node: Node, x: Tensor) -> Tensor:
        if node.name not in self._tensors:
            self._tensors[node.name] = (self.runner.tensor(self.quantized.table(node), "float32"),)
        return self.runner.gather(self._tensors[node.name][0], x - float(self.quantized.grid(node.inputs[0]).low))

    def _sum(self, node: Node, grid: Grid, inputs: Sequence[Tensor]) -> Tensor:
        run = self.runner
        sources = (self.quantized.grid(node.inputs[0]), self.quantized.grid(node.inputs[1]))
        rounding = self.quantized.rounding(node)
        if not self.graph.alike(*node.inputs):
            rounding = self.quantized.runtime.broadcast_rounding or rounding
        how = self.quantized.runtime.sums_at(self.quantized.gains(node))
        single = how == "exact" and isinstance(rounding, str) and arithmetic.adds_in_float32(sources, grid)
        a, b = (run.to_precision(x, "float32" if single else "float64") for x in inputs)
        return arithmetic.sum_by(how)(run, a, b, sources, grid, rounding)

    def _product(self, node: Node, grid: Grid, inputs: Sequence[Tensor]) -> Tensor:
        run, quantized = self.runner, self.quantized
        a, b = (run.to_precision(x, "float64") for x in inputs)
        first, second = (arithmetic.step_of(quantized.grid(name)) for name in node.inputs)
        scale = np.asarray(float(first) * float(second) / float(arithmetic.step_of(grid)))
        how = quantized.runtime.products_at(*quantized.gains(node))
        return arithmetic.product_by(how)(run, a * b, scale, quantized.rounding(node))

    def _average(self, node: Node, grid: Grid, inputs: Sequence[Tensor]) -> Tensor:
        run, a = self.runner, node.attrs
        x = run.to_precision(inputs[0], "float64")
        sums = run.window_sum(x, a["kernel"], a["stride"], with_overhang(node))
        how, rounding = self.quantized.runtime.averages, self.quantized.rounding(node)
        return arithmetic.average_of(run, sums, divisor(run, node, x), grid, how, rounding)

    def _mean(self, node: Node, grid: Grid, inputs: Sequence[Tensor]) -> Tensor:
        run = self.runner
        x = run.to_precision(inputs[0], "float64")
        sums = run.sum_over(x, node.attrs["axes"], node.attrs["keepdims"])
        how, rounding = self.quantized.runtime.means, self.quantized.rounding(node)
        return arithmetic.mean_of(run, sums, elements(node, x), how, rounding)

    def _norm(self, node: Node, grid: Grid, inputs: Sequence[Tensor]) -> Tensor:
        return normalized(self.runner, inputs[0], node.attrs["axes"], self.quantized.norm(node))

    def _softmax(self, node: Node, grid: Grid, inputs: Sequence[Tensor]) -> Tensor:
        return softmaxed(self.runner, inputs[0], node.attrs["axis"], self.quantized.softmax(node))

    def _matmul(self, node: Node, grid: Grid, inputs: Sequence[Tensor]) -> Tensor:
        run, quantized = self.runner, self.quantized
        sums = run.product(*(run.to_precision(x, "float64") for x in inputs))
        first, second = (float(arithmetic.step_of(quantized.grid(name))) for name in node.inputs)
        scale = np.asarray(first * second / float(arithmetic.step_of(grid)))
        if quantized.accumulation(node) != "float32":
            return arithmetic.fixed_point_product(run, sums, scale)
        return arithmetic.requantized(run, sums, scale.astype(np.float32), quantized.rounding(node))


_RULES: Mapping[str, Any] = {
    "add": Simulation._sum,
    "mul": Simulation._product,
    "avg_pool": Simulation._average,
    "global_avg_pool": Simulation._mean,
    "normalize": Simulation._norm,
    "softmax": Simulation._softmax,
    "matmul": Simulation._matmul,
}
"""How the ops without a weight that compute on codes become codes of their output."""

"""A graph with a grid for every site: all that simulations, integer programs and exported files are made from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.errors import UnsupportedOp
from mpq_plugins.graph import arithmetic
from mpq_plugins.graph.integer_norm import IntegerNorm, norm_of
from mpq_plugins.graph.integer_softmax import IntegerSoftmax, softmax_of
from mpq_plugins.graph.masks import hidden_by
from mpq_plugins.graph.node import INPUT, Batch, Graph, Node
from mpq_plugins.graph.numpy_runner import NUMPY_RUNNER
from mpq_plugins.graph.ops import op_of
from mpq_plugins.graph.placing import grid_at, put_on_grids
from mpq_plugins.graph.runtimes import rounding_of, runtime_of
from mpq_plugins.graph.runtimes.runtime import GROUPED, Accumulation, Law, Rule, Runtime, name_of_law
from mpq_plugins.graph.sites import GraphSites
from mpq_plugins.graph.weights import accumulator_steps, by_rows
from mpq_plugins.grid import Grid
from mpq_plugins.hardware.op_support import Rounding
from mpq_plugins.hardware.target import Target


def clamp_codes(node: Node, grid: Grid) -> tuple[int, int]:
    """Smallest and largest code that a node gives: those of the grid, and its own clamp moved inwards onto it.

    A clamp that lies beyond the grid gives the code at its end. Where no code lies between the bounds, the one below
    them is given.

    >>> clamp_codes(Node("relu6", "clamp", ("x",), low=0.0, high=6.0), Grid.power_of_two(2, 4, signed=False))
    (0, 1)
    >>> clamp_codes(Node("below", "clamp", ("x",), high=-1.0), Grid.power_of_two(2, 4, signed=False))
    (0, 0)
    >>> clamp_codes(Node("slab", "clamp", ("x",), low=0.3, high=0.3), Grid.power_of_two(3, 0))
    (1, 1)
    """
    step = grid.steps[0]
    low = grid.low if node.low is None else math.ceil(node.low / step)
    high = grid.high if node.high is None else math.floor(node.high / step)
    return min(max(min(low, high), grid.low), grid.high), min(max(high, grid.low), grid.high)


@dataclass(frozen=True)
class LayerCodes:
    """A layer in integers.

    weight: codes as Node has the weight, in the smallest integers that hold them. bias: codes on the accumulator's
    steps, [out]. steps: of the accumulator, [out]. largest: the largest sum of products and bias in magnitude that any
    codes of the input give, [out]. wide: whether a float32 sum of the products could pass 2**24 and so round.
    """

    weight: NDArray[np.integer[Any]]
    bias: NDArray[np.float64]
    steps: NDArray[np.float64]
    largest: NDArray[np.float64]

    @property
    def wide(self) -> bool:
        return bool((self.largest > arithmetic.EXACT_IN_FLOAT32).any())


def layer_codes(node: Node, weight_grid: Grid, source: Grid) -> LayerCodes:
    """The codes of a layer whose weight and bias lie on their grids; source: the grid of its input."""
    assert node.weight is not None
    rows = by_rows(node, weight_grid)
    weight = rows.quantize(node.weight)
    steps = accumulator_steps(node, weight_grid, source)
    bias = np.rint(node.biases / steps)
    norms = np.array([np.abs(row, dtype=np.int32).sum(dtype=np.float64) for row in weight])
    return LayerCodes(weight, bias, steps, norms * max(source.high, -source.low) + np.abs(bias))


def table_of(node: Node, source: Grid, grid: Grid, rounding: Rule) -> NDArray[np.int64]:
    """The codes of a function of one element, for every code of its input from the lowest up.

    The record's function in float64 over grid values, rounded once, is the definition on every runtime.
    """
    codes = np.arange(source.low, source.high + 1)
    values = op_of(node).value(NUMPY_RUNNER, node, codes * float(source.steps[0]))
    found = arithmetic.rounded(NUMPY_RUNNER, np.asarray(values) / float(grid.steps[0]), rounding)
    low, high = clamp_codes(node, grid)
    return np.asarray(np.minimum(np.maximum(np.clip(found, grid.low, grid.high), low), high)).astype(np.int64)


@dataclass(frozen=True, eq=False)
class QuantizedGraph:
    """A graph on its grids, as a target computes it.

    graph: weights and biases lie on their grids. grids: site -> Grid. grid_of: node -> activation site.
    """

    graph: Graph
    grids: Mapping[str, Grid]
    grid_of: Mapping[str, str]
    target: Target
    _layers: dict[str, LayerCodes] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, graph: Graph, sites: GraphSites, grids: Mapping[str, Grid], target: Target) -> QuantizedGraph:
        """With weights and biases rounded to the nearest value that they may take.

        Raises as put_on_grids does, and TargetError for another grid than the one that an op's kernel fixes.
        """
        for site in sites.inventory.activations:
            fixed = target.support(site.op).activation if target.runs(site.op) else None
            if fixed is not None and fixed.exponent is not None:
                target.check(site, grid_at(grids, site.name))
        return cls(put_on_grids(graph, sites.grid_of, grids), grids, sites.grid_of, target)

    @cached_property
    def runtime(self) -> Runtime:
        """What the target's runtime does differently."""
        return runtime_of(self.target)

    def grid(self, node: Node | str) -> Grid:
        """The grid of a node's output. Raises RecipeMismatch where there is none."""
        return grid_at(self.grids, self.grid_of[node if isinstance(node, str) else node.name])

    def weight_grid(self, node: Node) -> Grid:
        """The grid of a layer's weight as Node has it: one step, or one per output channel along axis 0."""
        return by_rows(node, grid_at(self.grids, node.weight_site))

    def rounding(self, node: Node) -> Rule:
        """How the target rounds ties in the node's op."""
        return rounding_of(self.target, op_of(node).target_word)

    def rounding_word(self, node: Node) -> Rounding:
        """The same, where it is a word (``check_words``)."""
        found = self.rounding(node)
        assert isinstance(found, str), f"{node.name} rounds by a function"
        return found

    def check_words(self, what: str) -> None:
        """Raise UnsupportedOp, with all names, for nodes that the runtime computes by laws of its own.

        what: in a sentence's beginning, what knows words alone.
        """
        laws = {node.name: self._own_laws(node) for node in self.graph.nodes if node.name in self.grid_of}
        own = {name: found for name, found in laws.items() if found}
        if own:
            listed = "; ".join(f"{name} by {', '.join(found)}" for name, found in own.items())
            raise UnsupportedOp(
                f"{what} the laws that have a word, and the runtime of target {self.target.name!r} computes {listed}, "
                "functions of its own; simulate the recipe, which follows them, and run it on the runtime itself",
                list(own),
            )

    def _own_laws(self, node: Node) -> list[str]:
        if node.op != INPUT and not op_of(node).computes:
            return []
        laws: list[str | Law] = [self.rounding(node)]
        laws += [self.runtime.sums] if node.op == "add" else []
        laws += [self.runtime.products] if node.op == "mul" else []
        return [name_of_law(law) for law in laws if not isinstance(law, str)]

    def layer(self, node: Node) -> LayerCodes:
        """A layer in integers."""
        if node.name not in self._layers:
            self._layers[node.name] = layer_codes(
                node, grid_at(self.grids, node.weight_site), self.grid(node.inputs[0])
            )
        return self._layers[node.name]

    def forget(self, node: Node) -> None:
        """Let go of a layer's integers, which are made again where they are asked for."""
        self._layers.pop(node.name, None)

    def table(self, node: Node) -> NDArray[np.int64]:
        """The codes of a function of one element, for every code of its input from the lowest up."""
        return table_of(node, self.grid(node.inputs[0]), self.grid(node), self.rounding(node))

    def norm(self, node: Node) -> IntegerNorm:
        """The constants of a norm."""
        a, shape = node.attrs, self.graph[node.inputs[0]].shape
        count = math.prod(size for axis in a["axes"] if not isinstance(size := shape[axis], Batch))
        source, grid = self.grid(node.inputs[0]), self.grid(node)
        return norm_of(node.site, count, bool(a["centered"]), float(a["epsilon"]), source, grid)

    def softmax(self, node: Node) -> IntegerSoftmax:
        """The constants of a softmax."""
        count = node.shape[node.attrs["axis"]]
        assert isinstance(count, int), f"{node.name}: the samples of a batch have no sum"
        scale, mask = float(node.attrs.get("scale", 1.0)), node.attrs.get("mask")
        hidden = None if mask is None else hidden_by(mask)
        return softmax_of(node.site, count, scale, self.grid(node.inputs[0]), self.grid(node), hidden)

    def largest_sum(self, node: Node) -> float:
        """The largest absolute sum of a layer that any codes of its input can give, the bias among it."""
        return float(self.layer(node).largest.max())

    def accumulation(self, node: Node) -> Accumulation:
        """How the accumulator of a layer or a matrix product becomes codes."""
        if node.op == "matmul" and self.runtime.shifted is not None and not self.grid(node.inputs[1]).signed:
            return self.runtime.shifted
        return self.runtime.accumulates(node.op, node.op in GROUPED and node.attrs["groups"] > 1)

    def gains(self, node: Node) -> tuple[float, ...]:
        """The steps that go into a node over the step that comes out: of an accumulator, a product, or each operand."""
        own = float(self.grid(node).steps[0])
        if node.weighted:
            sums = accumulator_steps(node, grid_at(self.grids, node.weight_site), self.grid(node.inputs[0]))
            return (float(np.max(sums)) / own,)
        steps = [float(self.grid(name).steps[0]) for name in node.inputs]
        return (math.prod(steps) / own,) if node.op in ("mul", "matmul") else tuple(step / own for step in steps)

"""How real values become the codes of a node's output: a runtime's arithmetic, for models that compute in floats.

A model trained on fixed grids of power-of-two steps computes, in float32, what a runtime's accumulators and sums hold,
exactly; only their rounding is the runtime's own. (Past 2**24 accumulators round, in float32 as on the runtime, but in
another order.)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mpq_plugins.graph import arithmetic
from mpq_plugins.graph.node import INPUT, RAW, Graph, Node
from mpq_plugins.graph.ops import op_of
from mpq_plugins.graph.ops.global_avg_pool import elements
from mpq_plugins.graph.quantized import QuantizedGraph, clamp_codes
from mpq_plugins.graph.runtimes.runtime import Accumulation, Mean
from mpq_plugins.graph.weights import accumulator_steps
from mpq_plugins.grid import Grid
from mpq_plugins.hardware.op_support import Rounding
from mpq_plugins.hardware.target import Target

_SUMS: Mapping[str, Rounding] = {"shared_shift": "half_up", "fixed_point": "half_away"}
"""What sums of runtimes come to where all steps are powers of two, and so all multipliers exact."""


@dataclass(frozen=True)
class OutputRounding:
    """The rule of one node.

    rounding: of ties. zero_point: added before rounding and taken off again, which decides about ties.
    octaves: by how many powers of two the steps of an accumulator in fixed point are finer than the output's, one
        number or one per channel; such a runtime rounds twice, the second time in its own ``accumulation``.
    count, mean: of a mean, how many elements it is of, and the runtime's word; 0 for no mean.
    codes: the lowest and the highest that the node's own clamp leaves, where it leaves fewer than the grid has.
    table: of a function of one element, the codes for every code of its input; source: step and lowest code of these.
    """

    rounding: Rounding = "half_even"
    zero_point: int = 0
    octaves: tuple[int, ...] = ()
    accumulation: Accumulation = "fixed_point"
    count: int = 0
    mean: Mean = "exact"
    codes: tuple[int, int] | None = None
    table: tuple[int, ...] = ()
    source: tuple[float, int] = (1.0, 0)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> OutputRounding:
        """The inverse of ``dataclasses.asdict``, also after JSON has made lists of tuples."""
        fields: dict[str, Any] = {n: tuple(value) if isinstance(value, list) else value for n, value in plain.items()}
        return cls(**fields)

    @property
    def once(self) -> bool:
        """Whether ``rounding`` says it all, but for the clamp."""
        return not self.zero_point and not self.octaves and not self.count

    def rounded(self, run: Any, scaled: Any) -> Any:
        """Codes, not clipped, of values over the output's step; channels along the last axis. run: a Runner.

        >>> from mpq_plugins.graph.numpy_runner import NUMPY_RUNNER
        >>> OutputRounding("half_up").rounded(NUMPY_RUNNER, np.array([0.5, -0.5, 1.5])).tolist()
        [1.0, 0.0, 2.0]
        """
        if self.octaves:
            scale = 2.0 ** -np.asarray(self.octaves, np.float64)
            upward = arithmetic.shifted_upward(self.accumulation, int(scaled.shape[-1]))
            codes = run.to_precision(scaled, "float64") / run.tensor(scale, "float64")
            return run.to_precision(arithmetic.fixed_point_product(run, codes, scale, upward), "float32")
        if self.count:
            sums = run.nearest(run.to_precision(scaled, "float64") * float(self.count))
            return run.to_precision(arithmetic.mean_of(run, sums, self.count, self.mean, self.rounding), "float32")
        zero = float(self.zero_point)
        return arithmetic.rounded(run, scaled + zero, self.rounding) - zero


def output_roundings(
    graph: Graph, grid_of: Mapping[str, str], grids: Mapping[str, Grid], target: Target
) -> dict[str, OutputRounding]:
    """The rule of every node on grids, by name; without those that compute with other steps than powers of two.

    grids: by site. grid_of: node -> activation site. Raises UnsupportedOp where a law of the runtime's has no word.
    """
    quantized = QuantizedGraph(graph, grids, grid_of, target)
    quantized.check_words("a model that computes in floats knows")
    on_grids = [node for node in graph.nodes if node.op not in RAW and node.name in grid_of]
    return {node.name: _rule(quantized, node) for node in on_grids if _is_exact(quantized, node)}


def _is_exact(quantized: QuantizedGraph, node: Node) -> bool:
    graph, grids = quantized.graph, [quantized.grid(node)]
    grids += [quantized.grid(name) for name in node.inputs if graph[name].op not in RAW]
    grids += [quantized.weight_grid(node)] if node.weighted else []
    return all(grid.is_power_of_two for grid in grids)


def _rule(quantized: QuantizedGraph, node: Node) -> OutputRounding:
    runtime, grid, rounding = quantized.runtime, quantized.grid(node), quantized.rounding_word(node)
    codes = _clamp_within(node, grid)
    if node.op == INPUT:
        zero = -grid.low if runtime.entry.zero_point else 0
        return OutputRounding(rounding, zero, codes=codes)
    if not op_of(node).computes:
        return OutputRounding(codes=codes)
    if node.weighted:
        how = quantized.accumulation(node)
        if how == "float32":
            return OutputRounding(rounding, codes=codes)
        steps = accumulator_steps(node, quantized.weight_grid(node), quantized.grid(node.inputs[0]))
        octaves = tuple(int(octave) for octave in np.log2(grid.steps[0] / steps))
        shared = octaves[:1] if len(set(octaves)) == 1 else octaves
        return OutputRounding(octaves=shared, accumulation=how, codes=codes)
    if op_of(node).table:
        source = quantized.grid(node.inputs[0])
        table = tuple(quantized.table(node).tolist())
        return OutputRounding(rounding, codes=codes, table=table, source=(source.steps[0], source.low))
    if node.op == "mul":
        (gain,) = quantized.gains(node)
        if runtime.products_at(gain) == "fixed_point":
            return OutputRounding(octaves=(-int(math.log2(gain)),), codes=codes)
    if node.op == "add":
        return OutputRounding(_SUMS.get(str(runtime.sums_at(quantized.gains(node))), rounding), codes=codes)
    if node.op == "avg_pool" and runtime.averages == "stored":
        return OutputRounding("half_away", arithmetic.int8_zero_point(grid), codes=codes)
    if node.op == "global_avg_pool" and runtime.means != "exact":
        return OutputRounding(count=elements(node, quantized.graph[node.inputs[0]]), mean=runtime.means, codes=codes)
    return OutputRounding(rounding, codes=codes)


def _clamp_within(node: Node, grid: Grid) -> tuple[int, int] | None:
    """The codes that a node's clamp leaves; None where they are the grid's own, which clips to them anyway."""
    if node.low is None and node.high is None:
        return None
    codes = clamp_codes(node, grid)
    return None if tuple(codes) == (grid.low, grid.high) else codes

"""One sweep through the model that puts every layer on its grids, each knowing the error made before it.

The float model and its simulation run side by side, node by node, on the calibration data; at each layer the moments
of both give what rounding weight and bias needs. Cost is one forward pass of each model, whatever the depth, and
memory holds only the activations that are still needed, up to a limit; the rest waits in temporary files (kept).
"""

from __future__ import annotations

import itertools
import math
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.errors import AccuracyWarning, NonFiniteValues
from mpq_plugins.graph.evaluation import FloatModel
from mpq_plugins.graph.node import ARGUMENT, FLOAT, INPUT, RAW, Graph, Node, Weight
from mpq_plugins.graph.placing import grid_at, input_step
from mpq_plugins.graph.quantized import QuantizedGraph
from mpq_plugins.graph.runner import Runner
from mpq_plugins.graph.simulation import Simulation
from mpq_plugins.graph.weights import by_rows, from_matrix, matrix
from mpq_plugins.grid import Grid
from mpq_plugins.hardware.target import Target
from mpq_plugins.rounding.bias_correction import corrected_bias, quantize_layer, snap_corrected
from mpq_plugins.rounding.moments.few_moments import FewMoments
from mpq_plugins.rounding.moments.layer_moments import LayerMoments
from mpq_plugins.rounding.moments.layer_sums import LayerSums, Part
from mpq_plugins.rounding.moments.snapping import ends_of, largest_magnitude
from mpq_plugins.rounding.moments.thinning import COLUMNS
from mpq_plugins.search.chunk import Chunk, holds_user_code, samples_of
from mpq_plugins.search.columns import columns, output_columns, thinned
from mpq_plugins.search.estimate import check_sweep_memory, kept_in_memory, sweep_memory, workers_to_round
from mpq_plugins.search.exact_float import adds_or_rounds, exact_output
from mpq_plugins.search.given_back import give_back
from mpq_plugins.search.kept import Kept
from mpq_plugins.search.sweep_plan import add_of, effort, visited
from mpq_plugins.search.usual import usual
from mpq_plugins.search.workers import ALONE, Workers, side_by_side
from mpq_plugins.terminal.progress import track

LOST = 0.9
"""Of the spread of a model's outputs; a squared error of more leaves nothing of them."""
VARIES = 2.0**-24
"""Of the outputs' squares: a spread of less is that of constants, and says nothing of bits."""


def compensate(
    graph: Graph,
    grid_of: Mapping[str, str],
    grids: Mapping[str, Grid],
    target: Target,
    runner: Runner,
    chunks: Sequence[Chunk],
    progress: bool | None = None,
    nearest: bool = False,
    memory: int | None = None,
    positions: int = COLUMNS,
) -> Graph:
    """The graph with every weight rounded with compensation, and every bias corrected.

    graph: the float model. grid_of: node -> activation site. grids: site -> Grid. nearest: round weights to nearest
    instead, and correct the biases alone. A layer that is called several times is rounded at its first call.
    memory: bytes that rounding may take, by default the machine's. positions: of a convolution's output, over all
    samples, that its moments are summed over, about.
    Raises NonFiniteValues, naming the site, where an activation is NaN or infinite, and TooLittleMemory at once.
    """
    counts = list(map(samples_of, chunks))
    check_sweep_memory(graph, max(counts, default=0), sum(counts), memory, positions)
    kept = kept_in_memory(memory)
    give_back(sweep_memory(graph, max(counts, default=0), sum(counts), kept, columns=positions))
    count = workers_to_round(graph, runner.threads, max(counts, default=0), sum(counts), memory, positions)
    with side_by_side(count, runner.one_thread) as workers:
        chunks = usual(
            FloatModel(graph, runner), chunks, ALONE if holds_user_code(graph, runner) else workers, progress
        )
        return _Sweep(graph, grid_of, grids, target, runner, chunks, nearest, kept, workers, positions).run(progress)


class _Sweep:
    def __init__(
        self,
        graph: Graph,
        grid_of: Mapping[str, str],
        grids: Mapping[str, Grid],
        target: Target,
        runner: Runner,
        chunks: Sequence[Chunk],
        nearest: bool,
        kept: int,
        workers: Workers,
        positions: int,
    ) -> None:
        self.graph, self.grid_of, self.grids = graph, grid_of, grids
        self.runner, self.chunks, self.nearest = runner, chunks, nearest
        self.workers, self.positions = workers, positions
        self.model = FloatModel(graph, runner)
        self.simulation = Simulation(QuantizedGraph(graph, grids, grid_of, target), runner)
        self.counts = [samples_of(chunk) for chunk in chunks]
        self.exact, self.codes = Kept(runner, kept), Kept(runner, kept)
        """Of each node the float outputs before its own clamp, and the codes after it."""
        self.ends: dict[str, tuple[float, float]] = {}
        """Of each node the least and the largest of what ``exact`` keeps."""
        self.solved: dict[str, tuple[Weight, NDArray[np.float64]]] = {}

    def run(self, progress: bool | None) -> Graph:
        left = Counter(name for node in self.graph.nodes for name in node.inputs)
        arguments = {node.name: index for index, node in enumerate(self.graph.arguments)}
        order = visited(self.graph)
        efforts = [effort(node, sum(self.counts)) for node in order]
        for node in track(order, "rounding layer by layer", progress, efforts):
            if node.op == ARGUMENT:
                for kept in (self.exact, self.codes):
                    kept.share(node.name, [chunk[arguments[node.name]] for chunk in self.chunks])
            else:
                self._visit(node)
            for name in node.inputs:
                left[name] -= 1
                if not left[name]:
                    self.exact.drop(name)
                    self.codes.drop(name)
        self._look_at_outputs()
        return self.graph.mapped(self._placed)

    def _visit(self, node: Node) -> None:
        # what a float part computes may be the user's code, of which nobody knows whether threads may share it
        workers, places = ALONE if node.op == FLOAT else self.workers, range(len(self.chunks))
        self.exact.add(node.name, self._watched(node.name, self._exact(node, workers)))
        on_grid = node
        if node.weighted:
            if node.weight_site not in self.solved:
                self.solved[node.weight_site] = self._solve(node, self._moments(node))
            on_grid = self._placed(node)
        # every node is computed once, on all chunks, so nothing that the simulation keeps of a layer grows stale,
        # or is needed longer
        self.simulation.ready(on_grid)
        codes = workers.ordered(lambda index: self.simulation.step(on_grid, self._codes_read(node, index)), places)
        self.codes.add(node.name, codes)
        self.simulation.forget(node)

    def _exact(self, node: Node, workers: Workers) -> Iterator[Any]:
        """The float outputs of a node before its clamp, chunk after chunk."""
        give = exact_output(self.model, node, self._largest_read(node))

        def of(index: int) -> Any:
            return give([self._float(name, index) for name in node.inputs])

        yield from workers.ordered(of, range(len(self.chunks)))

    def _look_at_outputs(self) -> None:
        """Warn where the last layers give nothing of what they should: exact conversion would hide it."""
        for node in self.graph.layers:
            if node.name not in self.exact or node.name not in self.codes:
                continue  # read by others, and dropped
            spread = error = size = 0.0
            for index, codes in enumerate(self.codes.every(node.name)):
                y = self.runner.numpy(self._float(node.name, index)).astype(np.float64)
                z = self.runner.numpy(self.simulation.value(node.name, codes))
                spread, error = spread + np.square(y - y.mean(0)).sum(), error + np.square(y - z).sum()
                size += np.square(y).sum()
            if spread > VARIES * size and error > LOST * spread:
                warnings.warn(
                    f"on its grids {node.name!r} is as far from the float model's outputs on the calibration data as "
                    f"their mean is (squared error {error / spread:.2f} of their spread): give more bits or more "
                    "calibration samples; mpq report shows where the noise comes from",
                    AccuracyWarning,
                    stacklevel=2,
                )

    def _codes_read(self, node: Node, index: int) -> list[Any]:
        """What a node reads of a chunk in the simulation; of an argument that is quantized the snapped values."""
        if node.op == INPUT and self._enters(node):
            return [self._float(node.name, index)]
        return [self.codes.of(name, index) for name in node.inputs]

    def _largest_read(self, node: Node) -> float:
        """The largest magnitude that a node which adds products, or rounds, reads in the float model; NaN of NaN."""
        if not adds_or_rounds(node):
            return 0.0
        (source,) = node.inputs
        return largest_magnitude([_clamped(self.graph[source], end) for end in self._ends(source)])

    def _ends(self, name: str) -> tuple[float, float]:
        """The least and the largest of a node's float outputs before its clamp; both NaN where one is."""
        if name not in self.ends:
            for _ in self._watched(name, self.exact.every(name)):
                pass
        return self.ends[name]

    def _watched(self, name: str, values: Iterable[Any]) -> Iterator[Any]:
        """The values, of which the ends are noted on the way."""
        low, high = math.inf, -math.inf
        for value in values:
            if not isinstance(value, (list, tuple)):  # as a layer of several outputs in float gives, which none adds up
                least, largest = ends_of(self.runner.numpy(value))
                low, high = float(np.minimum(low, least)), float(np.maximum(high, largest))
            yield value
        self.ends[name] = low, high

    def _float(self, name: str, index: int) -> Any:
        return self.model.clamped(self.graph[name], self.exact.of(name, index))

    def _enters(self, node: Node) -> bool:
        """Whether an input node quantizes an argument, of which the snapped values are taken."""
        return self.graph[node.inputs[0]].op == ARGUMENT

    def _placed(self, node: Node) -> Node:
        if node.weight_site not in self.solved or not node.weighted:
            return node
        rows, bias = self.solved[node.weight_site]
        return replace(node, weight=from_matrix(node, rows), bias=bias)

    def _solve(self, node: Node, moments: LayerMoments | FewMoments) -> tuple[Weight, NDArray[np.float64]]:
        """Rows of the weight and the bias on their grids."""
        grid = by_rows(node, grid_at(self.grids, node.weight_site))
        step = input_step(self.graph, node, self.grid_of, self.grids)
        # as a framework holds them, so that what lies on a free step's grid but for float32 rounding is known to
        rows, bias = (a.astype(np.float32, copy=False) for a in (matrix(node), node.biases))
        if self.nearest:
            weight = grid.project(rows)
            return weight, snap_corrected(bias, corrected_bias(weight, moments), step, grid, node.weight_site)
        return quantize_layer(rows, bias, moments, grid, step, name=node.layer or node.name, each=self.workers.ordered)

    def _moments(self, node: Node) -> LayerMoments | FewMoments:
        """Moments of the layer's quantized input and of the output that it should give there."""
        run, layout = self.runner, self.graph.layout
        source = node.inputs[0]
        grid = grid_at(self.grids, self.grid_of[source])
        outputs, total = len(node.biases), sum(self.counts)
        sums = LayerSums(grid, self._largest_wished(node), self.exact.elements(node.name) // outputs)
        firsts = [0, *itertools.accumulate(self.counts)]

        def parts(index: int) -> list[Part]:
            codes, wished = run.numpy(self.codes.of(source, index)), self._wished(node, index)
            shape, first = wished[0].shape, firsts[index]
            return [
                sums.part(
                    columns(node, codes[rows], layout, thinning),
                    _sum([output_columns(node, part[rows], layout, thinning) for part in wished]),
                )
                for rows, thinning in thinned(node, shape, layout, first, self.counts[index], total, self.positions)
            ]

        for found in self.workers.ordered(parts, range(len(self.chunks))):
            for part in found:
                sums.add(part)
        try:
            return sums.moments()
        except NonFiniteValues:  # the float model's values are known to be finite
            raise NonFiniteValues(
                f"site {self.graph[source].site!r} is NaN or infinite as soon as what it is computed from is on grids: "
                "something may be divided by zero there, or a logarithm be of zero; leave what comes before it in "
                "float (keep_float)"
            ) from None

    def _wished(self, node: Node, index: int) -> list[NDArray[Any]]:
        """The output that a layer should give on a chunk, as _sum takes it: the float model's, and where there is an
        error that it can make up for, the float model's value there and the simulation's.
        """
        partner, run = self._residual_partner(node), self.runner
        value = run.numpy(self.exact.of(node.name, index))
        if partner is None:
            return [value]
        more = run.numpy(self._float(partner, index))
        if np.broadcast_shapes(value.shape, more.shape) != value.shape:  # the layer cannot make up for it
            return [value]
        less = run.numpy(self.simulation.value(partner, self.codes.of(partner, index)))
        return [value, *(np.broadcast_to(part, value.shape) for part in (more, less))]

    def _largest_wished(self, node: Node) -> float:
        """The largest magnitude of that on all chunks. Raises NonFiniteValues."""
        if self._residual_partner(node) is None:
            largest = largest_magnitude(self._ends(node.name))
        else:
            largest = 0.0
            look = lambda index: largest_magnitude(_sum(self._wished(node, index)))  # noqa: E731
            for found in self.workers.ordered(look, range(len(self.chunks))):
                largest = float(np.maximum(largest, found))
        if not math.isfinite(largest):
            raise NonFiniteValues(
                f"site {node.name!r} is NaN or infinite on the calibration data; look for it in the weights before it"
            )
        return largest

    def _residual_partner(self, node: Node) -> str | None:
        """The other operand of the add that alone reads this layer, if it is known by now."""
        add = add_of(self.graph, node)
        other = None if add is None else next((name for name in add.inputs if name != node.name), None)
        return other if other is not None and other in self.codes and self.graph[other].op not in RAW else None


def _clamped(node: Node, value: float) -> float:
    """A value through the node's own clamp, as float32 holds its bounds; NaN as it is."""
    if node.low is not None:
        value = float(np.maximum(value, np.float64(np.float32(node.low))))
    return value if node.high is None else float(np.minimum(value, np.float64(np.float32(node.high))))


def _sum(parts: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """The first part, and in float64 what the second is more than the third."""
    if len(parts) == 1:
        return parts[0]
    return np.asarray(parts[0] + (parts[1].astype(np.float64) - parts[2]))

"""What a post-training search needs to know of the float model: one forward and a few backward passes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.errors import ModelError, NonFiniteValues
from mpq_plugins.graph.evaluation import FloatModel, run_nodes
from mpq_plugins.graph.node import INPUT, RAW, Graph, Node
from mpq_plugins.graph.runner import Runner
from mpq_plugins.graph.sites import GraphSites, take_sites
from mpq_plugins.graph.weights import matrix
from mpq_plugins.inventory import Inventory
from mpq_plugins.rounding.moments.input_moments import InputMoments
from mpq_plugins.rounding.moments.layer_moments import FewColumns
from mpq_plugins.search.chunk import Chunk, samples_of
from mpq_plugins.search.columns import columns, output_columns, thinned
from mpq_plugins.search.directions import direction_at
from mpq_plugins.search.ends import loss_ends
from mpq_plugins.search.estimate import check_memory
from mpq_plugins.search.trial import Trial
from mpq_plugins.search.unfinished import Interrupted, Unfinished, forget, waiting
from mpq_plugins.search.usual import usual
from mpq_plugins.search_input import Change
from mpq_plugins.sensitivity.fisher import DRAWS, FisherDirections, check_reached
from mpq_plugins.terminal.progress import Advance, stage
from mpq_plugins.thresholds.histogram import Histogram

Array = NDArray[np.float64]
POSITIONS = 2**18
"""Of all samples, on which the products of a layer's gradients are summed, in each draw, or a few more."""
_SUMMED = 2**12
"""Squares of gradients that are summed in their own precision, before float64 sums these."""


class Measurements:
    """A graph as numbers: see mpq_plugins.search_input.MeasuredModel, which this is.

    chunks: the calibration data, as ``rounding.moments.chunks`` cuts it, tensors of the runner's framework.
    The gradients are those of random directions whose second moment is the Fisher matrix of the model's own softmax,
    so no labels are needed; a model whose output is no row of class scores is taken to have Gaussian errors.
    memory: bytes that the search may take, by default the machine's; raises TooLittleMemory before the first pass.
    kept: a file that Ctrl-C leaves what was measured in, as Interrupted then says, and that is gone on from.
    """

    def __init__(
        self,
        graph: Graph,
        sites: GraphSites,
        runner: Runner,
        chunks: Sequence[Chunk],
        progress: bool | None = None,
        seed: int = 0,
        draws: int = DRAWS,
        memory: int | None = None,
        kept: Path | None = None,
    ) -> None:
        check_memory(graph, max(map(samples_of, chunks), default=0), sum(map(samples_of, chunks)), memory)
        self._graph = graph
        self._model = FloatModel(graph, runner)
        chunks = usual(self._model, chunks)
        self._ends = loss_ends(graph)
        self._trial = Trial(graph, sites, runner, chunks)
        self._owners = {site: name for name, site in sites.grid_of.items() if graph[name].site == site}
        self._layers: dict[str, Node] = {}
        for node in graph.layers:
            self._layers.setdefault(node.weight_site, node)
        self._inputs: dict[str, InputMoments] = {}
        self._fishers: dict[str, Array] = {}
        self._energies: dict[str, float] = {}
        self._histograms = {site: Histogram() for site in self._owners}
        self._reached: dict[str, bool] = {}
        self._directions = FisherDirections(seed)
        self._draws, self._gradients = draws, 0
        total = sum(map(samples_of, chunks))
        with stage("measuring the float model", progress, total * (1 + draws)) as advance:
            if kept is None:
                self._measure_all(chunks, total, advance)
            else:
                self._measure_kept(chunks, total, advance, kept)
        self.inventory: Inventory = take_sites(graph, self.signed_inputs()).inventory

    def check_gradients(self) -> None:
        """Raise ModelError, naming the sites, where no gradient reaches some, so that bits cannot be chosen."""
        check_reached(self._reached)

    def weight(self, site: str) -> Array:
        """The weight in matrix form, float64 [out, in]."""
        return matrix(self._layers[site])

    def bias(self, site: str) -> Array:
        """The bias of the layer, float64 [out]; zeros without one."""
        return self._layers[site].biases

    def covariance(self, site: str) -> Array:
        """Covariance of the layer's input columns, [groups, in, in]."""
        return self._inputs[site].covariance()

    def few_columns(self, site: str) -> FewColumns | None:
        """The covariance as what it comes of, where positions are few: mpq_plugins.search_input.KeepsColumns."""
        return self._inputs[site].few_columns()

    def output_fisher(self, site: str) -> Array:
        """Second moment of the output gradient, [out, out]."""
        return self._fishers[site] / self._gradients

    def histogram(self, site: str) -> Histogram:
        """The values of an activation site."""
        return self._histograms[site]

    def gradient_energy(self, site: str) -> float:
        """Squared gradient of an activation, summed over a sample."""
        return self._energies[site] / self._gradients

    def outputs(self, changes: Mapping[str, Change]) -> tuple[Array, ...]:
        """The model's float outputs with some weights or activations changed: search_input.RunnableModel."""
        return self._trial.outputs(changes)

    def signed_inputs(self) -> dict[str, bool]:
        """Input site -> whether the calibration data goes below zero."""
        return {node.site: self._histograms[node.site].min < 0 for node in self._graph.nodes if node.op == INPUT}

    def _measure_all(
        self,
        chunks: Sequence[Chunk],
        total: int,
        advance: Advance,
        known: int = 0,
        done: Callable[[int], None] = lambda samples: None,
    ) -> None:
        """All chunks behind the first ``known`` samples; ``done`` is told how many there are after each."""
        first = 0
        for chunk in chunks:
            samples = samples_of(chunk)
            if first < known:
                advance(samples * (1 + self._draws))
            else:
                self._measure(chunk, first, total, advance)
                done(first + samples)
            first += samples

    def _measure_kept(self, chunks: Sequence[Chunk], total: int, advance: Advance, path: Path) -> None:
        """The same, from where a file says that an earlier pass was left, into which Ctrl-C leaves this one."""
        found, sizes = Unfinished.load(path), itertools.accumulate(map(samples_of, chunks))
        known = self._go_on(found) if found is not None and found.samples in sizes else 0
        with waiting() as asked:

            def done(samples: int) -> None:
                if not asked():
                    return
                try:
                    self._left(samples).save(path)
                except OSError as error:
                    raise Interrupted(f"what was measured cannot be kept in {path.parent}: {error.strerror}") from error
                raise Interrupted(f"{samples} of {total} samples are measured and kept")

            self._measure_all(chunks, total, advance, known, done)
        forget(path)

    def _left(self, samples: int) -> Unfinished:
        """All sums so far."""
        arrays = {f"fisher/{site}": sums for site, sums in self._fishers.items()}
        for site, moments in self._inputs.items():
            arrays |= {f"{name}/{site}": array for name, array in moments.state().items()}
        histograms = {site: histogram.to_dict() for site, histogram in self._histograms.items()}
        rest = {"histograms": histograms, "energies": self._energies, "reached": self._reached}
        return Unfinished(
            samples, arrays, {**rest, "directions": self._directions.state(), "gradients": self._gradients}
        )

    def _go_on(self, left: Unfinished) -> int:
        """Take over the sums of an earlier pass; returns how many samples they are of."""
        self._fishers = dict(left.of("fisher"))
        names = {name.partition("/")[0] for name in left.arrays} - {"fisher"}
        by_site: dict[str, dict[str, NDArray[Any]]] = {site: {} for site in left.of("count")}
        for name in names:
            for site, array in left.of(name).items():
                by_site[site][name] = array
        self._inputs = {site: InputMoments.of_state(state) for site, state in by_site.items()}
        self._histograms = {site: Histogram.from_dict(state) for site, state in left.rest["histograms"].items()}
        self._energies, self._reached = dict(left.rest["energies"]), dict(left.rest["reached"])
        self._directions.restore(left.rest["directions"])
        self._gradients = int(left.rest["gradients"])
        return left.samples

    def _measure(self, chunk: Chunk, first: int, total: int, advance: Advance) -> None:
        samples, run = samples_of(chunk), self._model.runner
        unclamped: dict[str, Any] = {}

        def step(node: Node, inputs: Sequence[Any]) -> Any:
            value = self._model.unclamped(node, inputs)
            if node.op in RAW:
                return value
            if node.op == INPUT or node.weighted:
                value = run.watched(value)
            if node.weighted:
                unclamped[node.name] = value
                self._collect_inputs(node, inputs[0], value, first, samples, total)
            clamped = self._model.clamped(node, value)
            return clamped

        with run.recording():
            values = run_nodes(self._graph, chunk, step)
            self._collect_values(values)
            advance(samples)
            self._collect_gradients(values, unclamped, first, samples, total, advance)

    def _collect_inputs(self, node: Node, x: Any, y: Any, first: int, samples: int, total: int) -> None:
        array, layout = self._model.runner.numpy(x), self._graph.layout
        moments = self._inputs.setdefault(node.weight_site, InputMoments())
        for rows, thinning in thinned(node, tuple(y.shape), layout, first, samples, total):
            moments.update(columns(node, array[rows], layout, thinning))

    def _collect_values(self, values: Mapping[str, Any]) -> None:
        for site, name in self._owners.items():
            try:
                self._histograms[site].update(self._model.runner.numpy(values[name]))
            except NonFiniteValues as error:
                raise NonFiniteValues(f"site {site!r}: {error}") from None

    def _collect_gradients(
        self,
        values: Mapping[str, Any],
        unclamped: Mapping[str, Any],
        first: int,
        samples: int,
        total: int,
        advance: Advance,
    ) -> None:
        run = self._model.runner
        names = [*(self._graph[name].weight_site for name in unclamped), *self._owners]
        wanted = [*unclamped.values(), *(values[name] for name in self._owners.values())]
        ends = {name: value for name in self._ends for value in [values[name]] if run.differentiable(value)}
        if not ends:
            raise ModelError(
                "the model's outputs have no gradient, so no candidate can be rated; cut the model before its argmax"
            )
        nodes = [self._graph[name] for name in unclamped]
        for name in names:
            self._reached.setdefault(name, False)
        for node in nodes:
            self._fishers.setdefault(node.weight_site, np.zeros((len(node.biases), len(node.biases))))
        for site in self._owners:
            self._energies.setdefault(site, 0.0)

        def use(index: int, gradient: NDArray[Any]) -> None:
            self._reached[names[index]] = True
            if index < len(nodes):
                self._add_fisher(nodes[index], gradient, first, samples, total)
            else:
                self._energies[names[index]] += _energy(gradient)

        for turn in range(self._draws):
            directions = [
                direction_at(self._graph, name, self._directions, run.numpy(value), index, turn, first, samples)
                for index, (name, value) in enumerate(ends.items())
            ]
            run.gradients(list(ends.values()), wanted, directions, use)
            advance(samples)
        self._gradients += self._draws * samples

    def _add_fisher(self, node: Node, gradient: NDArray[Any], first: int, samples: int, total: int) -> None:
        layout, sums = self._graph.layout, self._fishers[node.weight_site]
        for rows, thinning in thinned(node, gradient.shape, layout, first, samples, total, POSITIONS):
            part = gradient[rows]
            by_output = output_columns(node, part, layout, thinning)
            weight = part.size / by_output.size  # positions that each of those looked at stands for
            _add_products(sums, by_output, 1 if node.op == "linear" else int(node.attrs["groups"]), weight)


def _add_products(total: Array, by_output: NDArray[Any], groups: int, weight: float) -> None:
    """Add products of outputs [out, positions] within each group; those between groups are never asked for."""
    if groups == 1:
        products = by_output @ by_output.T
        total += products if weight == 1 else weight * products
        return
    by_group = by_output.reshape(groups, -1, by_output.shape[1])
    count = by_group.shape[1]
    blocks = np.einsum("gigj->gij", total.reshape(groups, count, groups, count))  # a view
    own = _squares(by_output)[:, None, None] if count == 1 else by_group @ by_group.transpose(0, 2, 1)
    blocks += weight * own


def _energy(gradient: NDArray[Any]) -> float:
    """The sum of squares."""
    return float(_squares(gradient.reshape(1, -1))[0])


def _squares(rows: NDArray[Any]) -> Array:
    """The sum of squares of each row [rows, n]."""
    count, size = rows.shape
    whole = size // _SUMMED * _SUMMED
    parts = rows[:, :whole].reshape(count, -1, _SUMMED)
    sums = np.einsum("rpn,rpn->rp", parts, parts).sum(axis=1, dtype=np.float64)
    return np.asarray(sums + np.einsum("rn,rn->r", rows[:, whole:], rows[:, whole:]))

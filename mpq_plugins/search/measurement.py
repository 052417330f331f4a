"""What a post-training search needs to know of the float model: one forward and a few backward passes."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.errors import ModelError, NonFiniteValues
from mpq_plugins.graph.evaluation import FloatModel, run_nodes
from mpq_plugins.graph.node import INPUT, RAW, Graph, Node
from mpq_plugins.graph.runner import Runner, Tensor
from mpq_plugins.graph.sites import GraphSites, take_sites
from mpq_plugins.graph.weights import groups_of, matrix
from mpq_plugins.inventory import Inventory
from mpq_plugins.rounding.moments.input_moments import InputMoments
from mpq_plugins.rounding.moments.layer_moments import FewColumns
from mpq_plugins.search.chunk import Chunk, holds_user_code, samples_of
from mpq_plugins.search.columns import columns, looked_at, output_columns, thinned
from mpq_plugins.search.directions import direction_at
from mpq_plugins.search.ends import loss_ends
from mpq_plugins.search.estimate import check_memory, search_memory, workers_to_search
from mpq_plugins.search.given_back import give_back
from mpq_plugins.search.gradient_products import add_products, products
from mpq_plugins.search.joined_ends import JoinedEnds
from mpq_plugins.search.trial import Trial
from mpq_plugins.search.unfinished import Interrupted, Unfinished, forget, waiting
from mpq_plugins.search.usual import usual
from mpq_plugins.search.workers import ALONE, InTurn, given_up, side_by_side
from mpq_plugins.search_input import Change
from mpq_plugins.sensitivity.fisher import DRAWS, FisherDirections, check_reached
from mpq_plugins.terminal.progress import Advance, stage
from mpq_plugins.thresholds.histogram import Histogram

Array = NDArray[np.float64]
POSITIONS = 2**18
"""Of all samples, on which the products of a layer's gradients are summed, in each draw, or a few more."""


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
        counts = list(map(samples_of, chunks))
        check_memory(graph, max(counts, default=0), sum(counts), memory)
        self.workers = workers_to_search(graph, runner.threads, max(counts, default=0), sum(counts), memory)
        self._graph = graph
        self._model = FloatModel(graph, runner)
        self._alone = holds_user_code(graph, runner)
        with side_by_side(1 if self._alone else self.workers, runner.one_thread) as workers:
            chunks = usual(self._model, chunks, workers, progress)
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
        self._joined = JoinedEnds(graph, sites.grid_of)
        self._directions = FisherDirections(seed)
        self._draws, self._gradients = draws, 0
        total = sum(map(samples_of, chunks))
        with (
            stage("measuring the float model", progress, total * (1 + draws)) as advance,
            side_by_side(self.workers, runner.one_thread) as self._side_by_side,
        ):
            if kept is None:
                self._measure_all(chunks, total, advance)
            else:
                self._measure_kept(chunks, total, advance, kept)
        self._side_by_side = ALONE
        self._joined.warn()
        give_back(search_memory(graph, max(counts, default=0), sum(counts), self.workers))
        self.inventory: Inventory = take_sites(graph, self.signed_inputs()).inventory

    def check_gradients(self) -> None:
        """Raise ModelError, naming the sites, where no gradient reaches some, so that bits cannot be chosen."""
        check_reached(self._reached)

    def weight(self, site: str) -> NDArray[np.floating[Any]]:
        """The weight in matrix form, [out, in], as the graph has it."""
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
        samples, run, workers = samples_of(chunk), self._model.runner, self._side_by_side
        unclamped: dict[str, Any] = {}
        begun: list[Future[None]] = []
        of_site: dict[str, Future[None]] = {}

        def step(node: Node, inputs: Sequence[Any]) -> Any:
            value = self._model.unclamped(node, inputs)
            if node.op in RAW:
                return value
            if node.op == INPUT or node.weighted:
                value = run.watched(value)
            if node.weighted:
                unclamped[node.name] = value
                if node.weight_site in of_site:  # sums of one layer take its calls in their order
                    of_site[node.weight_site].result()
                shape = tuple(value.shape)
                of_site[node.weight_site] = workers.start(
                    self._collect_inputs, node, inputs[0], shape, first, samples, total
                )
                begun.append(of_site[node.weight_site])
            return self._model.clamped(node, value)

        with run.recording():
            try:
                values = run_nodes(self._graph, chunk, step)
                begun += [workers.start(self._collect_values, site, values) for site in self._owners]
                for future in begun:
                    future.result()
            finally:
                given_up(begun)
            self._joined.note(values, run)
            advance(samples)
            self._collect_gradients(values, unclamped, first, samples, total, advance)

    def _collect_inputs(
        self, node: Node, x: Any, output: tuple[int, ...], first: int, samples: int, total: int
    ) -> None:
        array, layout = self._model.runner.numpy(x), self._graph.layout
        moments = self._inputs.setdefault(node.weight_site, InputMoments())
        for rows, thinning in thinned(node, output, layout, first, samples, total):
            moments.update(columns(node, array[rows], layout, thinning))

    def _collect_values(self, site: str, values: Mapping[str, Any]) -> None:
        try:
            self._histograms[site].update(self._model.runner.numpy(values[self._owners[site]]))
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
                "the model's outputs have no gradient, so no candidate can be rated; cut the model before what has none"
            )
        nodes = [self._graph[name] for name in unclamped]
        for name in names:
            self._reached.setdefault(name, False)
        for node in nodes:
            self._fishers.setdefault(node.weight_site, np.zeros((len(node.biases), len(node.biases))))
        for site in self._owners:
            self._energies.setdefault(site, 0.0)
        in_turn = InTurn(Counter(names))

        def use(turn: int, index: int, gradient: Tensor) -> None:
            name = names[index]
            self._reached[name] = True
            if index >= len(nodes):
                found = run.energy(gradient)
                with in_turn.turn(turn, name):
                    self._energies[name] += found
                return
            parts = list(self._products(nodes[index], gradient, first, samples, total))
            with in_turn.turn(turn, name):
                for part in parts:
                    add_products(self._fishers[name], part)

        def draw(turn: int) -> None:
            try:
                directions = [
                    direction_at(self._graph, name, self._directions, run.numpy(value), index, turn, first, samples)
                    for index, (name, value) in enumerate(ends.items())
                ]
                take(directions, partial(use, turn))
            finally:
                in_turn.ended(turn)

        alone = self._alone or not run.differentiates_side_by_side
        with run.gradients(list(ends.values()), wanted) as take:
            for _ in (ALONE if alone else self._side_by_side).ordered(draw, range(self._draws)):
                advance(samples)
        self._gradients += self._draws * samples

    def _products(self, node: Node, gradient: Tensor, first: int, samples: int, total: int) -> Iterator[NDArray[Any]]:
        layout, groups, shape = self._graph.layout, groups_of(node), tuple(gradient.shape)
        for rows, thinning in thinned(node, shape, layout, first, samples, total, POSITIONS):
            part = gradient[rows]
            near = self._model.runner.numpy(looked_at(node, part, layout, thinning))  # the rest stays on its device
            by_output = output_columns(node, near, layout)
            stands_for = math.prod(part.shape) / by_output.size  # positions, each of those that are looked at
            yield products(by_output, groups, stands_for)

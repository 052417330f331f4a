"""What a post-training search needs to know of the float model: one forward and one backward pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx

from mpq_plugins.calibration.input_moments import InputMoments
from mpq_plugins.errors import ModelError, NonFiniteValues
from mpq_plugins.fisher import DRAWS, FisherDirections, check_reached
from mpq_plugins.histogram import Histogram
from mpq_plugins.inventory import Inventory
from mpq_plugins.problem import Change
from mpq_plugins.progress import track
from mpq_torch.batches import in_chunks, samples_of
from mpq_torch.canonical import WEIGHTED, CanonicalModel, logits
from mpq_torch.inventory import GraphSites
from mpq_torch.layer_matrix import columns, output_columns, thinned, weight_matrix
from mpq_torch.trial import Trial

Array = NDArray[np.float64]


class Measurements:
    """The MeasuredModel of torch: see mpq_plugins.problem.MeasuredModel.

    The gradients are those of random directions whose second moment is the Fisher matrix of the
    model's own softmax, so no labels are needed; a model whose output is no row of class scores is
    taken to have Gaussian errors.
    """

    def __init__(
        self,
        model: CanonicalModel,
        sites: GraphSites,
        batches: Sequence[tuple[Any, ...]],
        progress: bool | None = None,
        seed: int = 0,
        draws: int = DRAWS,
    ) -> None:
        self.inventory: Inventory = sites.inventory
        self._trial = Trial(model, sites, batches)
        self._layers = {f"{n.target}.weight": m for n, m in model.nodes() if isinstance(m, WEIGHTED)}
        self._inputs: dict[str, InputMoments] = {}
        self._fishers: dict[str, Tensor] = {}
        self._energies: dict[str, float] = {}
        self._histograms = {site.name: Histogram() for site in self.inventory.activations}
        self._reached: dict[str, bool] = {}
        self._gradients = 0
        chunks = in_chunks(batches)
        total = sum(samples_of(chunk) for chunk in chunks)
        for parameter in model.graph.parameters():
            parameter.requires_grad_(False)
        directions = FisherDirections(seed)
        recorder = _Recorder(model, sites)
        first = 0
        for chunk in track(chunks, "measuring the float model", progress):
            samples = samples_of(chunk)
            with torch.enable_grad():
                recorder.run(*chunk)
            self._collect_forward(recorder, first, samples, total)
            for turn in range(draws):
                recorder.clear_gradients()
                _back_propagate(recorder.results(), directions, turn, first, samples, again=turn + 1 < draws)
                self._collect_backward(recorder)
            first += samples
            self._gradients += draws * samples
            recorder.forget()

    def check_gradients(self) -> None:
        """Raise ModelError, naming the sites, where no gradient reaches some, so that bits cannot be chosen."""
        check_reached(self._reached)

    def weight(self, site: str) -> Array:
        """The weight in matrix form, float64 [out, in]."""
        return weight_matrix(self._layers[site]).flatten(0, 1).double().numpy()

    def bias(self, site: str) -> Array:
        """The bias of the layer, float64 [out]."""
        layer = self._layers[site]
        if layer.bias is None:
            return np.zeros(weight_matrix(layer).flatten(0, 1).shape[0])
        return layer.bias.detach().double().numpy()

    def covariance(self, site: str) -> Array:
        """Covariance of the layer's input columns, [groups, in, in]."""
        return self._inputs[site].covariance()

    def output_fisher(self, site: str) -> Array:
        """Second moment of the output gradient, [out, out]."""
        return (self._fishers[site] / self._gradients).numpy()

    def histogram(self, site: str) -> Histogram:
        """The values of an activation site."""
        return self._histograms[site]

    def gradient_energy(self, site: str) -> float:
        """Squared gradient of an activation, summed over a sample."""
        return self._energies[site] / self._gradients

    def outputs(self, changes: Mapping[str, Change]) -> tuple[Array, ...]:
        """The model's float outputs with some weights or activations changed: mpq_plugins.problem.RunnableModel."""
        return self._trial.outputs(changes)

    def signed_inputs(self) -> dict[str, bool]:
        """Model input -> whether the calibration data goes below zero."""
        return {s.name: self._histograms[s.name].min < 0 for s in self.inventory.activations if s.op == "input"}

    def _collect_forward(self, recorder: _Recorder, first: int, samples: int, total: int) -> None:
        for site, value in recorder.activations:
            try:
                self._histograms[site].update(value.detach().numpy())
            except NonFiniteValues as error:
                raise NonFiniteValues(f"site {site!r}: {error}") from None
        for site, x, output in recorder.layers:
            layer, moments = self._layers[site], self._inputs.setdefault(site, InputMoments())
            for rows, thinning in thinned(layer, output, first, samples, total):
                moments.update(columns(layer, x.detach()[rows], thinning).numpy())

    def _collect_backward(self, recorder: _Recorder) -> None:
        for site, value in recorder.activations:
            self._reached[site] = self._reached.get(site, False) or value.grad is not None
            energy = 0.0 if value.grad is None else float(value.grad.double().square().sum())
            self._energies[site] = self._energies.get(site, 0.0) + energy
        for site, _, output in recorder.layers:
            self._reached[site] = self._reached.get(site, False) or output.grad is not None
            gradient = output.grad if output.grad is not None else torch.zeros_like(output)
            by_output = output_columns(self._layers[site], gradient)
            _add(self._fishers, site, (by_output @ by_output.t()).double())


def _add(totals: dict[str, Tensor], key: str, part: Tensor) -> None:
    totals[key] = totals[key] + part if key in totals else part


class _Recorder(fx.Interpreter):
    """Runs a canonical graph and keeps inputs and outputs of layers and the values of activations."""

    def __init__(self, model: CanonicalModel, sites: GraphSites) -> None:
        super().__init__(model.graph)
        self.activations: list[tuple[str, Tensor]] = []
        self.layers: list[tuple[str, Tensor, Tensor]] = []
        self._ends: dict[fx.Node, list[Tensor]] = {node: [] for node in logits(model)}
        self._sites_at = {node: name for name, node in sites.owner_nodes.items()}
        self._layer_nodes = {node for node, module in model.nodes() if isinstance(module, WEIGHTED)}

    def run_node(self, n: fx.Node) -> Any:
        """Run one node, and record it."""
        result = super().run_node(n)
        layer, site = n in self._layer_nodes, self._sites_at.get(n)
        if layer or site is not None:
            if result.requires_grad:
                result.retain_grad()
            else:
                result = result.detach().requires_grad_()
        if layer:
            x = self.env[n.all_input_nodes[0]]
            self.layers.append((f"{n.target}.weight", x, result))
        if site is not None:
            self.activations.append((site, result))
        if n in self._ends:
            leaves, _ = torch.utils._pytree.tree_flatten(result)
            self._ends[n] = [leaf for leaf in leaves if isinstance(leaf, Tensor)]
        return result

    def results(self) -> list[Tensor]:
        """What the model returns, or what the softmax of an output reads."""
        return [leaf for leaves in self._ends.values() for leaf in leaves]

    def clear_gradients(self) -> None:
        """Drop the gradients of what was recorded."""
        for value in (*(v for _, v in self.activations), *(output for _, _, output in self.layers)):
            value.grad = None

    def forget(self) -> None:
        """Drop what was recorded."""
        self._ends = {node: [] for node in self._ends}
        self.activations.clear()
        self.layers.clear()


def _back_propagate(
    results: list[Tensor], directions: FisherDirections, turn: int, first: int, samples: int, again: bool
) -> None:
    """Back-propagate one random direction of the Fisher matrix from every float output of the model.

    again: whether another direction will be back-propagated through the same values.
    """
    outputs = [o for o in results if o.requires_grad]
    if not outputs:
        raise ModelError(
            "the model's outputs have no gradient, so no candidate can be rated; cut the model before its argmax"
        )
    drawn = [directions.draw(o.detach().numpy(), index, turn, first, samples) for index, o in enumerate(outputs)]
    gradients = [torch.from_numpy(d).to(o.dtype) for d, o in zip(drawn, outputs, strict=True)]
    torch.autograd.backward(outputs, gradients, retain_graph=again)

"""What a post-training search needs to know of the float model: one forward and one backward pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.errors import NonFiniteValues
from mpq_plugins.fisher import DRAWS, FisherDirections
from mpq_plugins.histogram import Histogram
from mpq_plugins.inventory import Inventory
from mpq_plugins.problem import Change
from mpq_plugins.progress import track
from mpq_tfmot.batches import Batch, in_chunks
from mpq_tfmot.canonical import CanonicalModel, last_integer_ops
from mpq_tfmot.canonical_ops import FLOAT, clamp, combine, multiply
from mpq_tfmot.keras import tf
from mpq_tfmot.layer_matrix import Thinning, columns, output_columns, weight_matrix
from mpq_tfmot.model_sites import ModelSites
from mpq_tfmot.trial import Trial

MAX_COLUMNS = 2**15
CHUNK = 32

Array = NDArray[np.float64]


class Measurements:
    """The MeasuredModel of TensorFlow: see mpq_plugins.problem.MeasuredModel.

    The gradients are those of random directions whose second moment is the Fisher matrix of a softmax
    over the model's last integer outputs, so no labels are needed.
    """

    def __init__(
        self,
        model: CanonicalModel,
        sites: ModelSites,
        batches: Sequence[Batch],
        progress: bool | None = None,
        seed: int = 0,
    ) -> None:
        self.inventory: Inventory = sites.inventory
        self._model = model
        self._trial = Trial(model, batches)
        self._layers = {op.weight_site: op for op in model.layers}
        self._grams: dict[str, Array] = {}
        self._means: dict[str, Array] = {}
        self._counts: dict[str, int] = {}
        self._fishers: dict[str, Array] = {}
        self._energies: dict[str, float] = {}
        self._histograms = {site.name: Histogram() for site in self.inventory.activations}
        self._gradients = 0
        self._directions = FisherDirections(seed)
        chunks = in_chunks(batches, CHUNK)
        total = sum(len(chunk[0]) for chunk in chunks)
        for turn, chunk in enumerate(track(chunks, "measuring the float model", progress)):
            self._measure(chunk, total, turn)

    def weight(self, site: str) -> Array:
        """The weight in matrix form, float64 [out, in]."""
        matrix = weight_matrix(self._layers[site])
        return np.ascontiguousarray(matrix.reshape(-1, matrix.shape[-1]))

    def bias(self, site: str) -> Array:
        """The bias of the layer, float64 [out]."""
        return np.asarray(self._layers[site].bias, dtype=np.float64)

    def covariance(self, site: str) -> Array:
        """Covariance of the layer's input columns, [groups, in, in]."""
        count = self._counts[site]
        mean = self._means[site] / count
        return self._grams[site] / count - mean[:, :, None] * mean[:, None, :]

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
        """The model's last integer outputs, in float, with some tensors changed: mpq_plugins.problem.RunnableModel."""
        return self._trial.outputs(changes)

    def signed_inputs(self) -> dict[str, bool]:
        """Model input -> whether the calibration data goes below zero."""
        return {op.name: self._histograms[op.name].min < 0 for op in self._model.inputs}

    def _measure(self, chunk: Batch, total: int, turn: int) -> None:
        values: dict[str, Any] = {}
        outputs: dict[str, Any] = {}
        ends = last_integer_ops(self._model)
        with tf.GradientTape(persistent=True) as tape:
            arrays = dict(zip((op.name for op in self._model.inputs), chunk, strict=True))
            for op in self._model.ops:
                if op.kind == FLOAT:
                    continue
                if op.kind == "input":
                    values[op.name] = tf.constant(arrays[op.name])
                    tape.watch(values[op.name])
                    continue
                inputs = [values[name] for name in op.inputs]
                if op.weighted:
                    x = inputs[0]
                    outputs[op.name] = multiply(op, x, tf.cast(op.weight, x.dtype), tf.cast(op.bias, x.dtype))
                    values[op.name] = clamp(op, outputs[op.name])
                else:
                    values[op.name] = clamp(op, combine(op, inputs))
            results = [values[name] for name in ends]
        self._collect_forward(values, outputs, total, turn)
        owners = [site.name for site in self.inventory.activations]
        wanted = [*(outputs[op.name] for op in self._model.layers), *(values[name] for name in owners)]
        for _ in range(DRAWS):
            drawn = [self._directions.draw(result.numpy(), index) for index, result in enumerate(results)]
            directions = [tf.constant(direction, tf.float32) for direction in drawn]
            gradients = tape.gradient(results, wanted, directions, unconnected_gradients=tf.UnconnectedGradients.ZERO)
            self._collect_backward([gradient.numpy() for gradient in gradients], owners)
        self._gradients += DRAWS * len(chunk[0])

    def _collect_backward(self, gradients: list[NDArray[Any]], owners: list[str]) -> None:
        layers = self._model.layers
        for op, gradient in zip(layers, gradients[: len(layers)], strict=True):
            by_output = output_columns(op, gradient)
            _add(self._fishers, op.weight_site, (by_output @ by_output.T).astype(np.float64))
        for name, gradient in zip(owners, gradients[len(layers) :], strict=True):
            energy = float(np.sum(np.square(gradient, dtype=np.float64)))
            self._energies[name] = self._energies.get(name, 0.0) + energy

    def _collect_forward(self, values: dict[str, Any], outputs: dict[str, Any], total: int, turn: int) -> None:
        for site, histogram in self._histograms.items():
            try:
                histogram.update(values[site].numpy())
            except NonFiniteValues as error:
                raise NonFiniteValues(f"site {site!r}: {error}") from None
        for op in self._model.layers:
            thinning = Thinning.to_at_most(MAX_COLUMNS, op, total, turn)
            x = columns(op, values[op.inputs[0]].numpy(), thinning).astype(np.float64)
            _add(self._grams, op.weight_site, x @ x.transpose(0, 2, 1))
            _add(self._means, op.weight_site, x.sum(axis=2))
            self._counts[op.weight_site] = self._counts.get(op.weight_site, 0) + x.shape[2]


def _add(totals: dict[str, Array], key: str, part: Array) -> None:
    totals[key] = totals[key] + part if key in totals else part

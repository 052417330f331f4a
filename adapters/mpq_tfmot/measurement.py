"""What a post-training search needs to know of the float model: one forward and one backward pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.calibration.input_moments import InputMoments
from mpq_plugins.errors import NonFiniteValues
from mpq_plugins.fisher import DRAWS, FisherDirections, check_reached
from mpq_plugins.histogram import Histogram
from mpq_plugins.inventory import Inventory
from mpq_plugins.problem import Change
from mpq_plugins.progress import track
from mpq_tfmot.batches import Batch, in_chunks
from mpq_tfmot.canonical import CanonicalModel, last_integer_ops
from mpq_tfmot.canonical_ops import FLOAT, clamp, combine, multiply
from mpq_tfmot.keras import tf
from mpq_tfmot.layer_matrix import columns, output_columns, thinned, weight_matrix
from mpq_tfmot.model_sites import ModelSites
from mpq_tfmot.trial import Trial

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
        self._inputs: dict[str, InputMoments] = {}
        self._fishers: dict[str, Array] = {}
        self._energies: dict[str, float] = {}
        self._histograms = {site.name: Histogram() for site in self.inventory.activations}
        self._gradients = 0
        self._directions = FisherDirections(seed)
        self._reached: dict[str, bool] = {}
        chunks = in_chunks(batches)
        total, first = sum(len(chunk[0]) for chunk in chunks), 0
        for chunk in track(chunks, "measuring the float model", progress):
            self._measure(chunk, first, total)
            first += len(chunk[0])

    def check_gradients(self) -> None:
        """Raise ModelError, naming the sites, where no gradient reaches some, so that bits cannot be chosen."""
        check_reached(self._reached)

    def weight(self, site: str) -> Array:
        """The weight in matrix form, float64 [out, in]."""
        matrix = weight_matrix(self._layers[site])
        return np.ascontiguousarray(matrix.reshape(-1, matrix.shape[-1]))

    def bias(self, site: str) -> Array:
        """The bias of the layer, float64 [out]."""
        return np.asarray(self._layers[site].bias, dtype=np.float64)

    def covariance(self, site: str) -> Array:
        """Covariance of the layer's input columns, [groups, in, in]."""
        return self._inputs[site].covariance()

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

    def _measure(self, chunk: Batch, first: int, total: int) -> None:
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
        self._collect_forward(values, first, len(chunk[0]), total)
        owners = [site.name for site in self.inventory.activations]
        wanted = [*(outputs[op.name] for op in self._model.layers), *(values[name] for name in owners)]
        for turn in range(DRAWS):
            directions = [
                self._direction(name, result.numpy(), index, turn, first)
                for index, (name, result) in enumerate(zip(ends, results, strict=True))
            ]
            gradients = tape.gradient(results, wanted, directions)
            self._collect_backward(gradients, wanted, owners)
        self._gradients += DRAWS * len(chunk[0])

    def _direction(self, name: str, result: Array, index: int, turn: int, first: int) -> Any:
        """The gradient to start from at an output; images go with their channels in front, as in other frameworks."""
        image = result.ndim == 4 or (result.ndim == 3 and self._model[name].kind != "linear")
        values = np.moveaxis(result, -1, 1) if image else result
        drawn = self._directions.draw(values, index, turn, first)
        return tf.constant(np.moveaxis(drawn, 1, -1) if image else drawn, tf.float32)

    def _collect_backward(self, found: list[Any], wanted: list[Any], owners: list[str]) -> None:
        layers = self._model.layers
        names = [*(op.weight_site for op in layers), *owners]
        for name, gradient in zip(names, found, strict=True):
            self._reached[name] = self._reached.get(name, False) or gradient is not None
        gradients = [np.zeros(w.shape) if g is None else g.numpy() for g, w in zip(found, wanted, strict=True)]
        for op, gradient in zip(layers, gradients[: len(layers)], strict=True):
            by_output = output_columns(op, gradient)
            _add(self._fishers, op.weight_site, (by_output @ by_output.T).astype(np.float64))
        for name, gradient in zip(owners, gradients[len(layers) :], strict=True):
            energy = float(np.sum(np.square(gradient, dtype=np.float64)))
            self._energies[name] = self._energies.get(name, 0.0) + energy

    def _collect_forward(self, values: dict[str, Any], first: int, samples: int, total: int) -> None:
        for site, histogram in self._histograms.items():
            try:
                histogram.update(values[site].numpy())
            except NonFiniteValues as error:
                raise NonFiniteValues(f"site {site!r}: {error}") from None
        for op in self._model.layers:
            moments = self._inputs.setdefault(op.weight_site, InputMoments())
            x = values[op.inputs[0]].numpy()
            for rows, thinning in thinned(op, first, samples, total):
                moments.update(columns(op, x[rows], thinning))


def _add(totals: dict[str, Array], key: str, part: Array) -> None:
    totals[key] = totals[key] + part if key in totals else part

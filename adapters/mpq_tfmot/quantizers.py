"""The one TF-MOT Quantizer of this package: a power-of-two grid, given by a recipe or found while training."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import tensorflow_model_optimization as tfmot

from mpq_plugins.grid import Grid
from mpq_tfmot.keras import keras, tf

Base = tfmot.quantization.keras.quantizers.Quantizer
OCTAVES = 4
"""Thresholds tried, from the one above the largest value downwards."""
MOMENTUM = 0.95


class GridQuantizer(Base):  # type: ignore[misc]
    """Rounds a tensor onto a power-of-two grid, with a straight-through gradient inside its range.

    bits, signed: of the grid. axis: of the channels; None for one step per tensor.
    steps: the steps of the grid; None to find them while training, by least squared error (method msqe):
        those of a weight follow it, those of an activation are a moving average over batches.
    weight: whether the tensor is a weight.

    Variables: ``step`` ([] or [channels]), ``seen`` (training batches).
    In inference it emits the FakeQuant ops that LiteRT's converter knows: a grid of b bits is part of an
    8-bit one, so weights are put on their grid and activations are clipped by minimum and maximum.
    """

    def __init__(
        self,
        bits: int = 8,
        signed: bool = True,
        axis: int | None = None,
        steps: Any = None,
        weight: bool = False,
    ) -> None:
        self.bits, self.signed, self.axis, self.weight = int(bits), bool(signed), axis, bool(weight)
        self.steps = None if steps is None else [float(step) for step in np.ravel(steps)]

    @classmethod
    def of(cls, grid: Grid, weight: bool = False) -> GridQuantizer:
        """The quantizer onto a grid of a recipe."""
        return cls(grid.bits, grid.signed, grid.axis, grid.steps, weight)

    @property
    def low(self) -> int:
        """Smallest code."""
        return -(1 << (self.bits - 1)) if self.signed else 0

    @property
    def high(self) -> int:
        """Largest code."""
        return (1 << (self.bits - self.signed)) - 1

    def build(self, tensor_shape: Any, name: str, layer: Any) -> dict[str, Any]:
        """Create the variables, as TF-MOT asks."""
        shape = () if self.axis is None else (int(tensor_shape[self.axis]),)
        first = 1.0 if self.steps is None else np.reshape(self.steps, shape)
        made = {}
        for key, start, size in (("step", first, shape), ("seen", 0.0, ())):
            made[key] = layer.add_weight(
                name=f"{name}_{key}",
                shape=size,
                initializer=keras.initializers.Constant(start),
                trainable=False,
            )
        return made

    def __call__(self, inputs: Any, training: Any, weights: dict[str, Any], **kwargs: Any) -> Any:
        """The tensor on its grid."""
        if training:
            if self.steps is None:
                self._follow(inputs, weights)
            return self._straight_through(inputs, self._broadcast(weights["step"], inputs))
        if self.weight:
            return self._emit_weight(inputs, weights["step"])
        return self._emit_activation(inputs, weights["step"])

    def grid(self, weights: dict[str, Any]) -> Grid:
        """The grid as the variables have it now."""
        steps = tuple(float(step) for step in np.ravel(weights["step"].numpy()))
        return Grid(self.bits, steps, self.signed, False, self.axis)

    def get_config(self) -> dict[str, Any]:
        """Everything the constructor takes."""
        return {
            "bits": self.bits,
            "signed": self.signed,
            "axis": self.axis,
            "steps": self.steps,
            "weight": self.weight,
        }

    def __eq__(self, other: object) -> bool:
        return isinstance(other, GridQuantizer) and self.get_config() == other.get_config()

    __hash__ = None  # type: ignore[assignment]  # compared by value

    def _follow(self, inputs: Any, weights: dict[str, Any]) -> None:
        step = self._best_step(tf.stop_gradient(inputs))
        if not self.weight:
            # averaged in the exponent, where thresholds are evenly spaced
            old, new = tf.math.log(weights["step"]), tf.math.log(step)
            mixed = tf.where(weights["seen"] > 0, MOMENTUM * old + (1 - MOMENTUM) * new, new)
            step = tf.exp(mixed)
        weights["step"].assign(step)
        weights["seen"].assign_add(1.0)

    def _best_step(self, x: Any) -> Any:
        """The power-of-two step of least squared error, [] or [channels]."""
        axes = None if self.axis is None else [d for d in range(x.shape.rank) if d != self.axis % x.shape.rank]
        largest = tf.reduce_max(tf.abs(x), axes)
        top = tf.math.ceil(_log2(tf.maximum(largest, 2.0**-60)))
        candidates, errors = [], []
        for octave in range(OCTAVES):
            step = tf.pow(2.0, top - octave - (self.bits - self.signed))
            error = tf.square(self._rounded(x, self._broadcast(step, x)) - x)
            candidates.append(step)
            errors.append(tf.reduce_mean(error, axes))
        best = tf.one_hot(tf.argmin(tf.stack(errors), 0), OCTAVES, axis=0)
        return tf.reduce_sum(best * tf.stack(candidates), 0)

    def _power_of_two(self, step: Any) -> Any:
        return tf.pow(2.0, tf.round(_log2(step)))

    def _broadcast(self, step: Any, x: Any) -> Any:
        step = self._power_of_two(step)
        if self.axis is None:
            return step
        shape = [1] * x.shape.rank
        shape[self.axis] = -1
        return tf.reshape(step, shape)

    def _rounded(self, x: Any, step: Any) -> Any:
        return tf.clip_by_value(tf.round(x / step), self.low, self.high) * step

    def _straight_through(self, x: Any, step: Any) -> Any:
        clipped = tf.clip_by_value(x, self.low * step, self.high * step)
        return clipped + tf.stop_gradient(self._rounded(x, step) - clipped)

    def _emit_weight(self, x: Any, step: Any) -> Any:
        on_grid = self._rounded(x, self._broadcast(step, x))
        fine = self._power_of_two(step) * 2.0 ** (self.bits - 8)
        if self.axis is None:
            return tf.quantization.fake_quant_with_min_max_vars(on_grid, -128 * fine, 127 * fine)
        if self.axis % x.shape.rank == x.shape.rank - 1:
            return tf.quantization.fake_quant_with_min_max_vars_per_channel(on_grid, -128 * fine, 127 * fine)
        # the op takes channels along the last axis alone; a depthwise weight has one element there
        order = [*range(x.shape.rank - 2), x.shape.rank - 1, x.shape.rank - 2]
        depthwise = x.shape[-1] == 1
        moved = tf.reshape(on_grid, (*x.shape[:-2], -1)) if depthwise else tf.transpose(on_grid, order)
        emitted = tf.quantization.fake_quant_with_min_max_vars_per_channel(moved, -128 * fine, 127 * fine)
        return tf.reshape(emitted, x.shape) if depthwise else tf.transpose(emitted, order)

    def _emit_activation(self, x: Any, step: Any) -> Any:
        step = self._power_of_two(step)
        low, high = (-128, 127) if self.signed else (0, 255)
        y = tf.quantization.fake_quant_with_min_max_vars(x, low * step, high * step)
        if self.bits < 8:
            y = tf.minimum(y, self.high * step)
            y = tf.maximum(y, self.low * step) if self.signed else y
        return y


def _log2(x: Any) -> Any:
    return tf.math.log(x) / math.log(2.0)

"""A training method of the tests: nothing but what a host must offer, with results that can be told by hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mpq_plugins.hookspecs import hookimpl
from mpq_plugins.thresholds import search_threshold
from mpq_plugins.training.method import NOISE, Start, TrainingMethod


@dataclass(frozen=True)
class Halving(TrainingMethod):
    """One number per tensor, the wish for bits, learned; it counts and remembers all that happens to it.

    push: what every step takes off the wish, beside the optimizer's move.
    """

    name: ClassVar[str] = "halving"
    summary: ClassVar[str] = "a method for tests"
    searches_bits: ClassVar[bool] = True
    needs_gradient: ClassVar[bool] = True

    push: float = 0.0

    def start(self, slot, observed):
        steps = [float(np.max(search_threshold(observed, b, slot.signed, axis=None).steps)) for b in slot.bits]
        state = {"steps": np.array(steps), "forwards": 0.0, "backwards": 0.0, "noises": 0.0, "frozen": 0.0}
        return Start({"wish": np.float32(slot.bits[-1])}, state)

    def noise_shape(self, slot):
        return (3,)

    def controls(self, slot, progress) -> Mapping[str, float]:
        return {"fraction": progress.fraction}

    def quantize(self, ops, slot, x, parameters, state, training):
        chosen = self._chosen(ops, slot, parameters["wish"])
        step = ops.sum(chosen * state["steps"])
        high = ops.sum(chosen * ops.array([float(slot.high(b)) for b in slot.bits], chosen))
        low = ops.sum(chosen * ops.array([float(slot.low(b)) for b in slot.bits], chosen))
        updates = {"forwards": state["forwards"] + 1.0}
        if training:
            updates["noises"] = state["noises"] + ops.sum(state[NOISE])
        return ops.fake_quantize(x, step, low, high), updates if training else {}

    def expected_bits(self, ops, slot, parameters, state):
        return parameters["wish"]

    def regularization(self, ops, slot, x, parameters, state):
        return 1e-3 * ops.mean(x * x)

    def penalty(self, ops, spent, state):
        total = 0.0
        for resource in spent:
            total = total + ops.relu(resource.cost / resource.limit - 1.0)
        return total

    def after_backward(self, ops, slot, x, gradient, parameters, state):
        return {"backwards": state["backwards"] + 1.0}

    def after_step(self, ops, slot, parameters, previous, state):
        wish = ops.minimum(ops.maximum(parameters["wish"] - self.push, float(slot.bits[0])), float(slot.bits[-1]))
        return {"wish": wish}, {}

    def preferences(self, slot, parameters, state):
        own = min(slot.bits, key=lambda b: abs(b - float(parameters["wish"])))
        return {b: float(abs(b - own)) for b in slot.bits}

    def harden(self, slot, parameters, state, bits=None):
        bits = bits or min(slot.bits, key=lambda b: abs(b - float(parameters["wish"])))
        return slot.grid(bits, float(np.asarray(state["steps"])[slot.bits.index(bits)]))

    def gradient_scale(self, slot):
        return 10.0

    def _chosen(self, ops, slot, wish):
        distance = ops.abs(wish - ops.array([float(b) for b in slot.bits], wish))
        return ops.one_hot(ops.argmax(-ops.stop_gradient(distance)), len(slot.bits), wish)


@hookimpl
def mpq_register_methods(register):
    """Register halving."""
    register(Halving())

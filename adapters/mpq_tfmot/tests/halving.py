"""A training method of the tests: nothing but what a host must offer, with results that can be told by hand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mpq_plugins.plugins.hookspecs import hookimpl
from mpq_plugins.thresholds.search import search_threshold
from mpq_plugins.training.grids import Grids
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

    def extents(self, bank):
        return dict.fromkeys(("wish", "steps", "forwards", "backwards", "noises", "frozen"), "group")

    def noise(self, bank):
        return "group", (3,)

    def follows_weights(self, bank):
        return bank.kind == "weight"

    def regularizes_weights(self, bank):
        return bank.kind == "weight"

    def controls(self, bank, progress) -> Mapping[str, float]:
        return {"fraction": progress.fraction}

    def grids(self, ops, bank, x, parameters, state, training):
        distance = ops.abs(
            ops.reshape(parameters["wish"], [-1, 1]) - ops.array([float(b) for b in bank.bits], bank.low)
        )
        chosen = ops.one_hot(ops.argmax(-ops.stop_gradient(distance)), len(bank.bits), bank.low)
        step, low, high = (ops.sum(chosen * values, axis=-1) for values in (state["steps"], bank.low, bank.high))
        grids = [Grids(step, low, high, "group", "group")]
        if not training:
            return grids, {}
        return grids, {
            "forwards": state["forwards"] + 1.0,
            "noises": state["noises"] + ops.sum(state[NOISE], axis=-1),
        }

    def expected_bits(self, ops, bank, parameters, state):
        return parameters["wish"]

    def regularization(self, ops, bank, x, parameters, state):
        return None if x is None else 1e-3 * ops.sum(bank.mean(ops, x * x, "element", "group"))

    def penalty(self, ops, spent, state):
        total = 0.0
        for resource in spent:
            total = total + ops.relu(resource.cost / resource.limit - 1.0)
        return total

    def after_backward(self, ops, bank, x, gradient, parameters, state):
        return {"backwards": state["backwards"] + 1.0}

    def after_step(self, ops, bank, parameters, previous, state):
        wish = ops.minimum(ops.maximum(parameters["wish"] - self.push, float(bank.bits[0])), float(bank.bits[-1]))
        return {"wish": wish}, {}

    def preferences(self, slot, parameters, state):
        own = min(slot.bits, key=lambda b: abs(b - float(parameters["wish"])))
        return {b: float(abs(b - own)) for b in slot.bits}

    def harden(self, slot, parameters, state, bits=None):
        bits = bits or min(slot.bits, key=lambda b: abs(b - float(parameters["wish"])))
        return slot.grid(bits, float(np.asarray(state["steps"])[slot.bits.index(bits)]))

    def gradient_scale(self, bank):
        return 10.0


@hookimpl
def mpq_register_methods(register):
    """Register halving."""
    register(Halving())

"""SearchSession: what a search does to a model around each optimizer step, in functions that TensorFlow traces once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mpq_plugins.training.history import Record
from mpq_plugins.training.method import Progress
from mpq_plugins.training.plan import TrainingPlan
from mpq_tfmot.hosted import Hosted, HostedModel
from mpq_tfmot.keras import tf
from mpq_tfmot.ops import OPS
from mpq_tfmot.quantizers import MOVE, OBSERVING, PARAMETER, STATE, TRAINING


class SearchSession:
    """One stretch of training between two changes of phase.

    hosted: the quantized model. plan: of the same model. Variables of the model hold all that a search knows,
    so a session can be dropped and made anew at any step.
    """

    def __init__(self, hosted: HostedModel, plan: TrainingPlan) -> None:
        self.plan = plan
        self.groups = hosted.by_site()
        self.searched = [h for h in hosted.hosted if h.quantizer.method is not None]
        self._trained = [h for h in self.searched if h.quantizer.phase == TRAINING]
        self._leading = next((h for h in self._trained if h.weight is not None), self._trained[0])
        self._after, self._measure = self._after_step, self._measured
        if not hosted.model.run_eagerly:
            self._after = tf.function(self._after_step, autograph=False)
            self._measure = tf.function(self._measured, autograph=False)

    @tf.autograph.experimental.do_not_convert  # type: ignore[untyped-decorator]
    def penalty(self) -> Any:
        """The loss terms of the budget and of the weights: a scalar with gradient to the methods' parameters."""
        _, _, total = self._terms()
        method = self.plan.method
        for one in self._trained:
            if one.weight is not None:
                weight = tf.cast(tf.convert_to_tensor(one.weight), tf.float32)
                term = method.regularization(OPS, one.quantizer.slot, weight, *one.quantizer.arrays(one.variables))
                total = total if term is None else total + term
        # what does not train yet gets a gradient of zero, which Keras does not warn of
        waiting = [
            tf.convert_to_tensor(variable)
            for h in self.searched
            if h.quantizer.phase == OBSERVING
            for key, variable in h.variables.items()
            if key.startswith(MOVE)
        ]
        return total + _nothing(waiting) if waiting else total

    def prepare(self, progress: Progress) -> None:
        """Set what the schedule prescribes at this point."""
        for one in self.searched:
            for key, value in self._controls(one, progress).items():
                one.variables[STATE + key].assign(value)

    def after_step(self, progress: Progress) -> list[str]:
        """After an optimizer step: projections and transitions, and the schedule at ``progress``, which comes next.

        Returns the sites that were not finite in the step, in the order of execution.
        """
        values = [v for one in self.searched for v in self._controls(one, progress).values()]
        finite = self._after(tf.constant(values, tf.float32)).numpy()
        return [one.site for one, good in zip(self.searched, finite, strict=True) if good < 1.0]

    def record(self, step: int) -> Record:
        """Where the search stands, as plain numbers."""
        bits, costs, penalty = self._measure()
        controls = {
            key: float(self._leading.variables[STATE + key].numpy())
            for key in self._controls(self._leading, Progress(0, 1, 1))
        }
        return Record(
            step,
            float(penalty.numpy()),
            {name: float(value.numpy()) for name, value in bits.items()},
            {name: _threshold(group[0]) for name, group in self.groups.items()},
            controls,
            {name: float(value.numpy()) for name, value in costs.items()},
        )

    def _controls(self, one: Hosted, progress: Progress) -> Mapping[str, float]:
        return self.plan.method.controls(one.quantizer.slot, progress)

    def _terms(self) -> tuple[dict[str, Any], tuple[Any, ...], Any]:
        """Expected bits by slot, what they cost, and the penalty of the budget."""
        bits = {name: self._expected_bits(name) for name in self.plan.slots}
        spent = self.plan.spent(OPS, bits)
        _, state = self._leading.quantizer.arrays(self._leading.variables)
        penalty = tf.cast(tf.convert_to_tensor(self.plan.method.penalty(OPS, spent, state)), tf.float32)
        return bits, spent, penalty

    def _expected_bits(self, slot: str) -> Any:
        """The mean over the quantizers that share the grid; the largest candidate where nothing trains."""
        method = self.plan.method
        parts = [
            OPS.mean(tf.cast(method.expected_bits(OPS, q.slot, *q.arrays(h.variables)), tf.float32))
            for h in self.groups.get(slot, ())
            if (q := h.quantizer).method is not None and q.phase == TRAINING
        ]
        return tf.add_n(parts) / len(parts) if parts else tf.constant(float(self.plan.slots[slot].bits[-1]))

    def _measured(self) -> tuple[dict[str, Any], dict[str, Any], Any]:
        bits, spent, penalty = self._terms()
        return bits, {s.resource: s.cost for s in spent}, penalty

    def _after_step(self, controls: Any) -> Any:
        method, taken = self.plan.method, 0
        finite = tf.stack([tf.convert_to_tensor(one.variables["finite"]) for one in self.searched])
        for one in self.searched:
            variables, slot = one.variables, one.quantizer.slot
            if one.quantizer.phase == TRAINING:
                scale = method.gradient_scale(slot)
                names = [key.removeprefix(PARAMETER) for key in variables if key.startswith(PARAMETER)]
                before = {n: tf.identity(variables[PARAMETER + n]) for n in names}
                now = {n: before[n] + scale * tf.convert_to_tensor(variables[MOVE + n]) for n in names}
                _, state = one.quantizer.arrays(variables)
                moved, updates = method.after_step(OPS, slot, now, before, state)
                for name, value in {**now, **moved}.items():
                    variables[PARAMETER + name].assign(tf.cast(value, tf.float32))
                    variables[MOVE + name].assign(tf.zeros_like(before[name]))
                one.quantizer.assign(variables, updates)
            for key in self._controls(one, Progress(0, 1, 1)):
                variables[STATE + key].assign(controls[taken])
                taken += 1
            variables["clock"].assign_add(1.0)
        return finite


def _threshold(one: Hosted) -> float:
    """The largest threshold of the grid of the moment; not a number where nothing is known yet."""
    quantizer = one.quantizer
    if one.unseen:
        return float("nan")
    trains = quantizer.method is not None and quantizer.phase == TRAINING
    grid = quantizer.method.harden(quantizer.slot, *one.numbers()) if trains else quantizer.grid(one.variables)  # type: ignore[union-attr]
    return float(np.max(grid.threshold))


@tf.custom_gradient  # type: ignore[untyped-decorator]
def _nothing(tensors: list[Any]) -> tuple[Any, Any]:
    """Zero, with gradients of zero."""
    return tf.zeros(()), lambda g: [tf.zeros_like(tensor) for tensor in tensors]

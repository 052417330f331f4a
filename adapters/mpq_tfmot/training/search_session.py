"""SearchSession: what a search does to a model around each optimizer step, in functions that TensorFlow traces once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mpq_plugins.training.bank import Bank, banks_of
from mpq_plugins.training.history import Record
from mpq_plugins.training.method import Progress, TrainingMethod
from mpq_plugins.training.plan import TrainingPlan
from mpq_tfmot.array_ops.ops import OPS
from mpq_tfmot.keras import tf
from mpq_tfmot.training.hosted import Hosted, HostedModel
from mpq_tfmot.training.quantizers import OBSERVING, TRAINING
from mpq_tfmot.training.tensor_bank import MOVE, PARAMETER, STATE, TensorBank


class SearchSession:
    """One stretch of training between two changes of phase.

    hosted: the quantized model. plan: of the same model. Variables of the model hold all that a search knows,
    so a session can be dropped and made anew at any step. Only ``first_bad`` and ``record`` wait for the device.
    """

    def __init__(self, hosted: HostedModel, plan: TrainingPlan) -> None:
        self.plan = plan
        self.groups = hosted.by_site()
        self.searched = [h for h in hosted.hosted if h.quantizer.method is not None]
        trained = [h for h in self.searched if h.quantizer.phase == TRAINING]
        places = {id(h.quantizer.slot): h for h in trained}
        members = [[places[id(slot)] for slot in bank.slots] for bank in banks_of([h.quantizer.slot for h in trained])]
        self._banks = [_Members.of(plan.method, own) for own in members]
        self._leading = next((bank for bank in self._banks if bank.hosted[0].weight is not None), self._banks[0])
        self._controls = self._controlled()
        self._first_bad = tf.Variable([float("inf")] * (len(self.searched) + 1), trainable=False)
        self._after, self._measure = self._after_step, self._measured
        if not hosted.model.run_eagerly:
            self._after = tf.function(self._after_step, autograph=False)
            self._measure = tf.function(self._measured, autograph=False)

    @tf.autograph.experimental.do_not_convert  # type: ignore[untyped-decorator]
    def penalty(self) -> Any:
        """The loss terms of the budget and of the weights: a scalar with gradient to the methods' parameters."""
        _, _, total = self._terms()
        for bank in self._banks:
            term = bank.regularization()
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
        self._set_controls(self._prescribed(progress))

    def after_step(self, progress: Progress, loss: Any) -> None:
        """After an optimizer step: projections and transitions, and the schedule at ``progress``, which comes next.

        loss: of the step, a number or a tensor.
        """
        self._after(self._prescribed(progress), tf.cast(tf.convert_to_tensor(loss), tf.float32))

    def first_bad(self) -> tuple[int, str | None] | None:
        """The first step with NaN or infinities, and the first site of them, None for the loss; None if all was finite.

        Sites are in the order of execution.
        """
        steps = self._first_bad.numpy()
        first = int(np.argmin(steps))
        if not np.isfinite(steps[first]):
            return None
        return int(steps[first]), self.searched[first].site if first < len(self.searched) else None

    def record(self, step: int) -> Record:
        """Where the search stands, as plain numbers."""
        bits, costs, penalty = self._measure()
        leading = self._leading.hosted[0]
        names = self.plan.method.controls(leading.quantizer.bank, Progress(0, 1, 1))
        return Record(
            step,
            float(penalty.numpy()),
            dict(zip(self.plan.costs.slots, bits.numpy().tolist(), strict=True)),
            {name: _threshold(group[0]) for name, group in self.groups.items()},
            {key: float(leading.variables[STATE + key].numpy()) for key in names},
            {name: float(value.numpy()) for name, value in costs.items()},
        )

    def _controlled(self) -> list[tuple[Bank, list[Any]]]:
        """One quantizer's bank for every structure, and the variables of all such quantizers, trained or not."""
        found: dict[Any, tuple[Bank, list[Any]]] = {}
        for one in self.searched:
            slot = one.quantizer.slot
            found.setdefault((slot.kind, slot.bits), (one.quantizer.bank, []))[1].append(one.variables)
        return list(found.values())

    def _prescribed(self, progress: Progress) -> Any:
        """The controls of every structure, one behind the other."""
        values = [v for bank, _ in self._controls for v in self.plan.method.controls(bank, progress).values()]
        return tf.constant(values, tf.float32)

    def _set_controls(self, values: Any) -> None:
        taken = 0
        for bank, quantizers in self._controls:
            for key in self.plan.method.controls(bank, Progress(0, 1, 1)):
                for variables in quantizers:
                    variables[STATE + key].assign(values[taken])
                taken += 1

    def _terms(self) -> tuple[Any, tuple[Any, ...], Any]:
        """Expected bits, [slots], what they cost, and the penalty of the budget."""
        bits = self._expected_bits()
        tables = {
            name: tf.constant(values, tf.int64 if values.dtype.kind == "i" else tf.float32)
            for name, values in self.plan.costs.tables().items()
        }
        spent = self.plan.costs.spent(OPS, bits, tables)
        state = self._leading.tensors.state(self._leading.variables)
        penalty = tf.cast(tf.convert_to_tensor(self.plan.method.penalty(OPS, spent, state)), tf.float32)
        return bits, spent, penalty

    def _expected_bits(self) -> Any:
        """The mean over the quantizers that share the grid; the largest candidate where nothing trains."""
        order = [h for bank in self._banks for h in bank.hosted]
        place = {id(h): at for at, h in enumerate(order)}
        names = self.plan.costs.slots
        shares, rest = np.zeros((len(names), len(order)), np.float32), np.zeros(len(names), np.float32)
        for row, name in enumerate(names):
            own = [place[id(h)] for h in self.groups.get(name, ()) if id(h) in place]
            if own:
                shares[row, own] = 1.0 / len(own)
            else:
                rest[row] = self.plan.slots[name].bits[-1]
        bits = tf.concat([bank.expected_bits() for bank in self._banks], 0)
        return tf.reduce_sum(shares * bits, 1) + rest

    def _measured(self) -> tuple[Any, dict[str, Any], Any]:
        bits, spent, penalty = self._terms()
        return bits, {s.resource: s.cost for s in spent}, penalty

    def _after_step(self, controls: Any, loss: Any) -> None:
        finite = [tf.convert_to_tensor(one.variables["finite"]) for one in self.searched]
        good = tf.stack([*finite, tf.cast(tf.reduce_all(tf.math.is_finite(loss)), tf.float32)]) >= 1.0
        now = tf.convert_to_tensor(self.searched[0].variables["clock"])
        known = tf.convert_to_tensor(self._first_bad)
        self._first_bad.assign(tf.where(good, known, tf.minimum(known, now)))
        for bank in self._banks:
            bank.after_step()
        self._set_controls(controls)
        for one in self.searched:
            one.variables["clock"].assign_add(1.0)


@dataclass(frozen=True)
class _Members:
    """Quantizers of one structure that train, and their bank."""

    method: TrainingMethod
    hosted: tuple[Hosted, ...]
    tensors: TensorBank

    @classmethod
    def of(cls, method: TrainingMethod, hosted: Sequence[Hosted]) -> _Members:
        slots = [h.quantizer.slot for h in hosted]
        return cls(method, tuple(hosted), TensorBank(method, slots, hosted[0].quantizer.seed))

    @property
    def variables(self) -> list[Any]:
        """Of every quantizer."""
        return [h.variables for h in self.hosted]

    def expected_bits(self) -> Any:
        """[groups]"""
        return tf.cast(
            self.method.expected_bits(OPS, self.tensors.bank, *self.tensors.arrays(self.variables)), tf.float32
        )

    def regularization(self) -> Any:
        """The loss term of the weights; None where there is none."""
        bank = self.tensors.bank
        if bank.kind != "weight":
            return None
        x = None
        if self.method.regularizes_weights(bank):
            weights = [tf.cast(tf.convert_to_tensor(h.weight), tf.float32) for h in self.hosted]
            x = tf.concat([bank.layout.flat(OPS, index, w) for index, w in enumerate(weights)], 0)
        return self.method.regularization(OPS, bank, x, *self.tensors.arrays(self.variables))

    def after_step(self) -> None:
        """Projections and transitions, after the optimizer's step."""
        variables, bank = self.variables, self.tensors.bank
        parameters, state = self.tensors.arrays(variables)
        before = {name: self.tensors.rows(variables, PARAMETER + name) for name in parameters}
        scale = self.method.gradient_scale(bank)
        now = {name: value + scale * self.tensors.rows(variables, MOVE + name) for name, value in before.items()}
        moved, updates = self.method.after_step(OPS, bank, now, before, state)
        self.tensors.assign(variables, {**now, **moved}, PARAMETER)
        self.tensors.assign(variables, {name: tf.zeros_like(value) for name, value in before.items()}, MOVE)
        self.tensors.assign(variables, updates)


def _threshold(one: Hosted) -> float:
    """The largest threshold of the grid of the moment; not a number where nothing is known yet."""
    quantizer = one.quantizer
    if one.unseen:
        return float("nan")
    trains = quantizer.method is not None and quantizer.phase == TRAINING
    grid = one.standing() if trains else quantizer.grid(one.variables)
    return float(np.max(grid.threshold))


@tf.custom_gradient  # type: ignore[untyped-decorator]
def _nothing(tensors: list[Any]) -> tuple[Any, Any]:
    """Zero, with gradients of zero."""
    return tf.zeros(()), lambda g: [tf.zeros_like(tensor) for tensor in tensors]

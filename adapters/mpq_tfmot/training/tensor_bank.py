"""TensorBank: grid groups whose arrays lie in the variables of several quantizers, as one bank in TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mpq_plugins.training import noise
from mpq_plugins.training.bank import Bank
from mpq_plugins.training.method import NOISE, TrainingMethod
from mpq_plugins.training.slot import Slot
from mpq_tfmot.array_ops.ops import OPS
from mpq_tfmot.keras import tf

PARAMETER, MOVE, STATE = "parameter_", "move_", "state_"
"""Prefixes of a quantizer's variables: a method's parameters, what the optimizer moved them by, its state."""

Tensors = dict[str, Any]
Variables = Mapping[str, Any]


class TensorBank:
    """The bank of these groups with its constants as tensors.

    A quantizer keeps its group's rows, and of the controls, which are the same for all, each has a copy.
    """

    def __init__(self, method: TrainingMethod, slots: Sequence[Slot], seed: int) -> None:
        plain = Bank.of(slots)
        self.method, self.plain = method, plain
        self.bank = plain.over({name: _constant(values) for name, values in plain.arrays.items()})
        self._constants = {name: _constant(np.asarray(values)) for name, values in method.constants(plain).items()}
        self._extents = method.extents(plain)
        drawn = method.noise(plain)
        self._counters = None if drawn is None else _constant(noise.counters(plain, *drawn, seed, method.draws_as))

    def arrays(self, groups: Sequence[Variables]) -> tuple[Tensors, Tensors]:
        """Parameters and state as the method takes them, constants and the noise of this step among the state."""
        names = [key.removeprefix(PARAMETER) for key in groups[0] if key.startswith(PARAMETER)]
        parameters = {n: tf.stop_gradient(self.rows(groups, PARAMETER + n)) for n in names}
        parameters = {n: value + self.rows(groups, MOVE + n) for n, value in parameters.items()}
        return parameters, self.state(groups)

    def state(self, groups: Sequence[Variables]) -> Tensors:
        """The state alone."""
        kept = [key.removeprefix(STATE) for key in groups[0] if key.startswith(STATE)]
        state = {name: self.rows(groups if name in self._extents else groups[:1], STATE + name) for name in kept}
        if self._counters is not None:
            step = tf.cast(tf.convert_to_tensor(groups[0]["clock"]), tf.int64)
            key = noise.mixed(OPS, OPS.bit_and(step + 1, 0xFFFFFFFF))
            state[NOISE] = noise.draws(OPS, self._counters, key)
        return {**self._constants, **state}

    def assign(self, groups: Sequence[Variables], updates: Mapping[str, Any], prefix: str = STATE) -> None:
        """Store updates, each group's rows in its own variables."""
        for name, value in updates.items():
            extent = self._extents[name]
            parts = (
                tf.split(tf.cast(value, tf.float32), self.plain.layout.counts(extent)) if len(groups) > 1 else [value]
            )
            for variables, part in zip(groups, parts, strict=True):
                variables[prefix + name].assign(tf.cast(part, tf.float32))

    def rows(self, groups: Sequence[Variables], key: str) -> Any:
        """One kind of variable of all groups, one behind the other."""
        parts = [tf.convert_to_tensor(variables[key]) for variables in groups]
        return parts[0] if len(parts) == 1 else tf.concat(parts, 0)


def _constant(values: Any) -> Any:
    return tf.constant(values, tf.int64 if values.dtype.kind == "i" else tf.float32)

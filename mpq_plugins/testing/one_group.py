"""OneGroup: a method on a single tensor, as tests want to ask it, in the arrays of any framework."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mpq_plugins.array_ops.protocol import Array, Ops
from mpq_plugins.array_ops.reference import NUMPY
from mpq_plugins.training.bank import Bank
from mpq_plugins.training.method import NOISE, TrainingMethod, on_grids
from mpq_plugins.training.slot import Slot

Named = Mapping[str, Array]


class OneGroup:
    """A bank of one. Parameters, state and results are each of the group's own shape: [] where it has one row."""

    def __init__(self, method: TrainingMethod, slot: Slot, ops: Ops = NUMPY, like: Array = None) -> None:
        self.method, self.slot, self.ops = method, slot, ops
        like = np.float32(0) if like is None else like
        plain = Bank.of([slot])

        def constant(values: Any) -> Array:
            values = np.asarray(values)
            return ops.integers(values, like) if values.dtype.kind == "i" else ops.array(values, like)

        self.bank = plain.over({name: constant(values) for name, values in plain.arrays.items()})
        self.constants = {name: constant(values) for name, values in method.constants(plain).items()}
        self.extents: dict[str, Any] = dict(method.extents(plain))
        drawn = method.noise(plain)
        if drawn is not None:
            self.extents[NOISE] = drawn[0]

    def noise_shape(self) -> tuple[int, ...] | None:
        """Shape of the draws of one step."""
        drawn = self.method.noise(self.bank)
        return None if drawn is None else (*self.bank.layout.own_shape(drawn[0], 0), *drawn[1])

    def quantize(
        self, x: Array, parameters: Named, state: Named, training: bool, ops: Ops | None = None
    ) -> tuple[Array, Named]:
        """The tensor as the method puts it on its grid, and updates of the state."""
        ops = ops or self.ops
        follows = training and self.method.follows_weights(self.bank)
        weights = ops.stop_gradient(self.bank.layout.flat(ops, 0, x)) if follows else None
        held = self._rows(parameters), self._state(state)
        grids, updates = self.method.grids(ops, self.bank, weights, *held, training)
        return on_grids(ops, self.method, self.bank, 0, grids, x), self._own(updates)

    def expected_bits(self, parameters: Named, state: Named) -> Array:
        """Bits of the moment, a scalar."""
        bits = self.method.expected_bits(self.ops, self.bank, self._rows(parameters), self._state(state))
        return self.ops.reshape(bits, [])

    def regularization(self, x: Array, parameters: Named, state: Named) -> Array | None:
        """The loss term of the weight."""
        weights = self.bank.layout.flat(self.ops, 0, x) if self.method.regularizes_weights(self.bank) else None
        return self.method.regularization(self.ops, self.bank, weights, self._rows(parameters), self._state(state))

    def after_backward(self, x: Array, gradient: Array, parameters: Named, state: Named) -> Named:
        """Updates of the state from the gradient at the quantized weight."""
        weight, upstream = (self.bank.layout.flat(self.ops, 0, values) for values in (x, gradient))
        held = self._rows(parameters), self._state(state)
        return self._own(self.method.after_backward(self.ops, self.bank, weight, upstream, *held))

    def after_step(self, parameters: Named, previous: Named, state: Named) -> tuple[Named, Named]:
        """New parameters, and updates of the state."""
        held = self._rows(parameters), self._rows(previous), self._state(state)
        moved, updates = self.method.after_step(self.ops, self.bank, *held)
        return self._own(moved), self._own(updates)

    def ask(self, function: Any, parameters: Named, state: Named) -> Array:
        """A function of the method's own, ``function(ops, bank, parameters, state)``."""
        return function(self.ops, self.bank, self._rows(parameters), self._state(state))

    def _state(self, state: Named) -> Named:
        return {**self.constants, **self._rows(state)}

    def _rows(self, values: Named) -> dict[str, Array]:
        return {name: self._as_rows(name, value) for name, value in values.items()}

    def _as_rows(self, name: str, value: Array) -> Array:
        if name not in self.extents:
            return value
        layout, extent = self.bank.layout, self.extents[name]
        if extent == "element":
            return layout.flat(self.ops, 0, value)
        own = len(layout.own_shape(extent, 0))
        return self.ops.reshape(value, [layout.total(extent), *np.shape(value)[own:]])

    def _own(self, values: Named) -> dict[str, Array]:
        return {name: self._as_own(name, value) for name, value in values.items()}

    def _as_own(self, name: str, value: Array) -> Array:
        layout, extent = self.bank.layout, self.extents[name]
        if np.shape(value)[:1] != (layout.total(extent),):
            return value  # of another shape than the extent says, which whoever asks will find
        if extent == "element":
            axis, shape = self.slot.axis or 0, self.slot.shape
            moved = (shape[axis], *shape[:axis], *shape[axis + 1 :])
            return self.ops.move_axis(self.ops.reshape(value, moved), 0, axis)
        return self.ops.reshape(value, [*layout.own_shape(extent, 0), *np.shape(value)[1:]])

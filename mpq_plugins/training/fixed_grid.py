"""The grid that a kernel fixes, as a method that never moves it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from mpq_plugins.array_ops.protocol import Array, Ops
from mpq_plugins.grid import Grid
from mpq_plugins.training.bank import Bank
from mpq_plugins.training.grids import Grids
from mpq_plugins.training.layout import Extent
from mpq_plugins.training.method import Arrays, Numbers, Start, TrainingMethod
from mpq_plugins.training.slot import Observed, Slot


@dataclass(frozen=True)
class FixedGrid(TrainingMethod):
    """Of slots whose one candidate says its threshold (Candidate.exponent). State: step, [groups]."""

    name: ClassVar[str] = "fixed"
    summary: ClassVar[str] = "the grid that a kernel fixes"

    def start(self, slot: Slot, observed: Observed) -> Start:
        """The step of the candidate, whatever was observed."""
        return Start(state={"step": np.float32(fixed_grid(slot).step)})

    def harden(self, slot: Slot, parameters: Numbers, state: Numbers, bits: int | None = None) -> Grid:
        """The grid of the candidate."""
        return fixed_grid(slot)

    def extents(self, bank: Bank) -> Mapping[str, Extent]:
        """One step a group."""
        return {"step": "group"}

    def grids(
        self, ops: Ops, bank: Bank, x: Array, parameters: Arrays, state: Arrays, training: bool
    ) -> tuple[Sequence[Grids], Arrays]:
        """The same grid at every step."""
        return [Grids(state["step"], bank.low[:, -1], bank.high[:, -1], "group", "group")], {}


def fixed_grid(slot: Slot) -> Grid:
    """The grid of a slot whose one candidate says its threshold.

    >>> from mpq_plugins.hardware.op_support import Candidate
    >>> fixed_grid(Slot("gate", "activation", (8,), (Candidate(8, False, False, exponent=0),))).step
    0.00390625
    """
    (candidate,) = slot.candidates
    assert candidate.exponent is not None
    return candidate.grid(candidate.exponent)


def trains(method: TrainingMethod, slot: Slot) -> TrainingMethod:
    """What trains a slot: the method, unless a kernel fixes the grid."""
    return FixedGrid() if slot.candidates[0].exponent is not None else method

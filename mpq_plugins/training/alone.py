"""A bank of one: what a method keeps of a single group, in the arrays that its functions of banks take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.training.bank import Bank
from mpq_plugins.training.method import Numbers, Start, TrainingMethod
from mpq_plugins.training.slot import Slot

Named = dict[str, NDArray[Any]]


def alone(method: TrainingMethod, slot: Slot, parameters: Numbers, state: Numbers) -> tuple[Bank, Named, Named]:
    """The bank of one group, its parameters and its state, constants of the method included.

    parameters, state: each of the group's own shape for its extent; scalars without an extent are controls.
    """
    bank = Bank.of([slot])
    constants = {name: np.asarray(values) for name, values in method.constants(bank).items()}
    return bank, joined(method, bank, [parameters]), joined(method, bank, [state]) | constants


def joined(method: TrainingMethod, bank: Bank, groups: list[Numbers]) -> Named:
    """What the groups of a bank keep, each of its own shape, as the arrays of the bank.

    Of what has no extent the first group's value stands for all.
    """
    extents: dict[str, Any] = dict(method.extents(bank))
    drawn = method.noise(bank)
    if drawn is not None:
        extents["noise"] = drawn[0]
    return {
        name: bank.layout.joined(extents[name], [group[name] for group in groups])
        if name in extents
        else np.asarray(value)
        for name, value in groups[0].items()
    }


def joined_start(method: TrainingMethod, bank: Bank, starts: Sequence[Start]) -> Start:
    """The starts of the groups of a bank as one of the bank."""
    parameters = joined(method, bank, [start.parameters for start in starts])
    return Start(parameters, joined(method, bank, [start.state for start in starts]))


def parted(method: TrainingMethod, bank: Bank, values: Numbers, index: int) -> Named:
    """What one group of a bank keeps, in its own shape: the inverse of ``joined``."""
    extents = method.extents(bank)
    return {
        name: bank.layout.part(extents[name], np.asarray(v), index) if name in extents else np.asarray(v)
        for name, v in values.items()
    }

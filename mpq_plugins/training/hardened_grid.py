"""The grid that a slot has from hardening on: what its method learned, or what fits the weight as it is now."""

from __future__ import annotations

from numpy.typing import ArrayLike

from mpq_plugins.grid import Grid
from mpq_plugins.thresholds.search import search_threshold
from mpq_plugins.training.method import Numbers, TrainingMethod
from mpq_plugins.training.plan import own_bits
from mpq_plugins.training.slot import Slot


def hardened_grid(
    method: TrainingMethod, slot: Slot, parameters: Numbers, state: Numbers, bits: int, weight: ArrayLike | None
) -> Grid:
    """The grid of a slot at the bits that the budget leaves it.

    weight: as it is now, of the slot's shape; None for an activation.

    At its own choice the method says which. A weight that is moved to other bits gets the power-of-two
    thresholds of least squared error: a search turns away from such bits long before it ends, and what it
    knew of them is of the weights of then; by now they may saturate there, or all round to zero.

    Raises NonFiniteValues where the weight is not finite.
    """
    if weight is None or bits == own_bits(method.preferences(slot, parameters, state)):
        return method.harden(slot, parameters, state, bits)
    return search_threshold(weight, bits, slot.signed, "mse", slot.axis, slot.narrow)

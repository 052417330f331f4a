"""The grid that a slot has from hardening on: what its method learned, or what fits the weight as it is now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mpq_plugins.errors import NonFiniteValues
from mpq_plugins.grid import Grid
from mpq_plugins.training.method import Numbers, TrainingMethod
from mpq_plugins.training.plan import own_bits
from mpq_plugins.training.slot import Slot
from mpq_plugins.training.starting_grid import least_error_grid


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
    return least_error_grid(slot, np.asarray(weight), bits)


def hardened_grids(
    method: TrainingMethod,
    slots: Sequence[Slot],
    numbers: Sequence[tuple[Numbers, Numbers]],
    bits: Sequence[int | None] | None = None,
    weights: Sequence[NDArray[Any] | None] | None = None,
) -> tuple[Grid, ...]:
    """The grids of the slots of a bank, of which ``numbers`` are parameters and state.

    bits: those that the budget leaves each slot, None for its method's own choice. weights: as of ``hardened_grid``.
    Raises NonFiniteValues where a learned parameter is not finite, naming the site.
    """
    found = []
    for index, (slot, (parameters, state)) in enumerate(zip(slots, numbers, strict=True)):
        for name, value in parameters.items():
            if not np.all(np.isfinite(value)):
                raise NonFiniteValues(f"site {slot.name!r}: the learned {name} is {np.asarray(value).tolist()}")
        own = None if bits is None else bits[index]
        if own is None:
            found.append(method.harden(slot, parameters, state))
        else:
            weight = None if weights is None else weights[index]
            found.append(hardened_grid(method, slot, parameters, state, own, weight))
    return tuple(found)

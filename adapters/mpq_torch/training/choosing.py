"""The grids that the banks of a search come to, within its budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from mpq_plugins.grid import Grid
from mpq_plugins.training.plan import TrainingPlan, own_choices
from mpq_plugins.training.predicting import predicted_losses
from mpq_plugins.training.slot import Observed
from mpq_torch.training.grid_bank import GridBank


def chosen(
    plan: TrainingPlan,
    banks: Sequence[GridBank],
    weights: Mapping[str, NDArray[Any]],
    observed: Mapping[str, Observed],
) -> tuple[dict[str, Grid], dict[str, str]]:
    """The grid of every slot, and reasons. weights: as they are now. observed: of the activations, at the start."""
    numbers = {s.name: n for bank in banks for s, n in zip(bank.plain.slots, bank.numbers(), strict=True)}
    preferences = own_choices(plan, {n: p for n, (p, _) in numbers.items()}, {n: s for n, (_, s) in numbers.items()})
    predicted = None
    if plan.method.searches_bits:
        energies = {name: energy for bank in banks for name, energy in bank.measured().items()}
        predicted = predicted_losses(list(plan.slots.values()), {**observed, **weights}, energies)
    bits, reasons = plan.choose(preferences, predicted)
    grids: dict[str, Grid] = {}
    for bank in banks:
        names = [slot.name for slot in bank.plain.slots]
        own = bank.harden([bits[name] for name in names], [weights.get(name) for name in names])
        grids |= dict(zip(names, own, strict=True))
    return grids, reasons

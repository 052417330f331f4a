"""The Pareto front: the lowest loss at each of many limits of one resource."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mpq_plugins.allocation.allocator import (
    DEFAULT_GAP,
    Allocation,
    allocate_choices,
    infeasible,
    models_of,
    smallest_cost,
)
from mpq_plugins.allocation.choices import arrange
from mpq_plugins.costs.budget import Budget, limits_of
from mpq_plugins.costs.cost_models import COST_MODELS, CostModel
from mpq_plugins.errors import AllocationError, InfeasibleBudget
from mpq_plugins.inventory import Inventory


def pareto(
    inventory: Inventory,
    candidates: Mapping[str, Sequence[int]],
    losses: Mapping[str, Sequence[float]],
    resource: str,
    cost_models: Mapping[str, CostModel] = COST_MODELS,
    *,
    budget: Budget | None = None,
    limits: Sequence[float] | None = None,
    points: int = 16,
    gap: float = DEFAULT_GAP,
    time_limit: float = 60.0,
) -> tuple[Allocation, ...]:
    """Allocations in ascending order of ``resource``; each costs more than the one before and loses less.

    budget: limits of other resources, which hold at every point; its limit of ``resource`` is not used.
    limits: of ``resource``, one solve each; those that nothing meets are left out. None: ``points`` of
        them, evenly spaced from the smallest reachable value to that of the lowest loss.
    gap: of each point, as in ``allocate``; 0 asks for the optimum, which takes longer.
    The other arguments are those of ``allocate``, whose errors are raised too.
    Raises InfeasibleBudget when no limit can be met, AllocationError for fewer than two points.

    >>> from mpq_plugins.inventory import Site
    >>> inventory = Inventory([Site("a", "weight", "linear", (800,)), Site("b", "weight", "linear", (80,))])
    >>> front = pareto(inventory, {"a": (4, 8), "b": (4, 8)}, {"a": (0.3, 0.0), "b": (0.2, 0.0)}, "weight_bytes")
    >>> [(point.costs["weight_bytes"].value, point.loss) for point in front]
    [(440.0, 0.5), (480.0, 0.3), (840.0, 0.2), (880.0, 0.0)]
    """
    others = {name: limit for name, limit in limits_of(budget).items() if name != resource}
    choices = arrange(inventory, candidates, losses, models_of([*others, resource], cost_models))
    if limits is None:
        if points < 2:
            raise AllocationError(f"a sweep needs 2 points or more, got {points}")
        least = smallest_cost(choices, resource, others)
        if least is None:
            raise infeasible(choices, others)
        best = allocate_choices(choices, others, gap, time_limit)
        most = choices.costs(choices.columns_of(best.bits))[resource]
        limits = np.linspace(least, max(least, most), points).tolist()
    found: list[Allocation] = []
    for limit in sorted(set(limits)):
        try:
            point = allocate_choices(choices, {**others, resource: float(limit)}, gap, time_limit)
        except InfeasibleBudget:
            continue
        found.append(point)
    if not found:
        raise infeasible(choices, {**others, resource: float(max(limits))})
    return non_dominated(found, resource)


def non_dominated(found: Sequence[Allocation], resource: str) -> tuple[Allocation, ...]:
    """Those that lose less than every one that costs no more of the resource, by ascending cost."""
    front: list[Allocation] = []
    for point in sorted(found, key=lambda allocation: (allocation.costs[resource].value, allocation.loss)):
        if not front or point.loss < front[-1].loss:
            front.append(point)
    return tuple(front)

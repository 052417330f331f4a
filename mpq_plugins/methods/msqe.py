"""msqe: power-of-two thresholds of least squared error, post-training; bits by predicted loss.

From "A Closer Look at Hardware-Friendly Weight Quantization" (2210.03671): the threshold of a tensor
is the power of two of least (weighted) squared quantization error. Ours: the error of a weight is
measured at its layer's output and after compensated rounding, over the thresholds next to the
paper's; and bits are searched, by the rise of the loss that a Kronecker-factored Fisher matrix
predicts for each candidate (sensitivity.predicted_loss), solved as a knapsack under the budget.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mpq_plugins.allocation import Allocation, allocate
from mpq_plugins.costs import cost_of
from mpq_plugins.errors import MPQError, NonFiniteValues
from mpq_plugins.grid import Grid
from mpq_plugins.hookspecs import hookimpl
from mpq_plugins.inventory import Site
from mpq_plugins.moments import damped
from mpq_plugins.problem import Problem
from mpq_plugins.progress import track
from mpq_plugins.recipe import Recipe
from mpq_plugins.rounding import choose_exponents
from mpq_plugins.sensitivity import non_increasing, predicted_loss
from mpq_plugins.thresholds import error_table, search_threshold

DAMPING = 0.01
NEIGHBOURS = (-1, 0, 1)
"""Thresholds tried beside the one of least squared error, as differences of exponents."""

Rated = tuple[Grid, float]


@dataclass(frozen=True)
class Msqe:
    """The post-training method; a value without state."""

    name: str = "msqe"
    kind: str = "post-training"
    summary: str = "thresholds of least squared error, bits by predicted loss"
    paper: str = "arXiv:2210.03671"

    def search(self, problem: Problem) -> Recipe:
        """Rate every candidate of every site, and allocate bits under the budget.

        Raises InfeasibleBudget, and NonFiniteValues naming the site.
        """
        inventory = problem.model.inventory
        rated: dict[str, dict[int, Rated]] = {}
        for group in track(list(inventory.groups().values()), "rating candidates", problem.progress):
            try:
                rated |= _rate_weight(problem, group[0]) if group[0].kind == "weight" else _rate_shared(problem, group)
            except NonFiniteValues as error:
                raise NonFiniteValues(f"site {group[0].name!r}: {error}") from None
        if problem.budget is None:
            return _recipe(problem, rated, None)
        losses = {
            name: list(non_increasing({bits: loss for bits, (_, loss) in by_bits.items()}).values())
            for name, by_bits in rated.items()
        }
        bits = {name: list(by_bits) for name, by_bits in rated.items()}
        solution = allocate(inventory, bits, losses, problem.budget, problem.cost_models)
        return _recipe(problem, rated, solution)


def _rate_weight(problem: Problem, site: Site) -> dict[str, dict[int, Rated]]:
    """Grid and predicted loss of every candidate of a weight."""
    weight = problem.model.weight(site.name)
    curvature = damped(problem.model.covariance(site.name), DAMPING)
    fisher = problem.model.output_fisher(site.name)
    importance = fisher.diagonal() if np.any(fisher) else None  # a layer without a gradient weighs its rows alike
    rated: dict[int, Rated] = {}
    for candidate in problem.candidates[site.name]:
        axis = 0 if candidate.per_channel else None
        plain = search_threshold(weight, candidate.bits, narrow=candidate.narrow, axis=axis)
        exponents = [[e + offset for e in plain.exponents] for offset in NEIGHBOURS]
        if axis is None:
            exponents = [row[0] for row in exponents]  # type: ignore[misc]
        grid, rounded = choose_exponents(
            weight,
            curvature,
            candidate.bits,
            exponents,
            candidate.per_channel,
            candidate.narrow,
            row_weights=importance,
        )
        on_site = Grid(grid.bits, grid.steps, True, grid.narrow, site.channel_axis if candidate.per_channel else None)
        rated[candidate.bits] = on_site, _finite(predicted_loss(rounded, weight, curvature, fisher), site)
    return {site.name: rated}


def _rate_shared(problem: Problem, group: tuple[Site, ...]) -> dict[str, dict[int, Rated]]:
    """Grid and predicted loss of every candidate of the activations that share one grid."""
    histogram = problem.model.histogram(group[0].name)
    for site in group[1:]:
        histogram = histogram.merge(problem.model.histogram(site.name))
    rated: dict[str, dict[int, Rated]] = {site.name: {} for site in group}
    for candidate in problem.candidates[group[0].name]:
        grid = search_threshold(histogram, candidate.bits, candidate.signed)
        for site in group:
            error = error_table(
                problem.model.histogram(site.name), [candidate.bits], grid.exponents, candidate.signed
            ).error.item()
            loss = 0.5 * error * problem.model.gradient_energy(site.name)
            rated[site.name][candidate.bits] = grid, _finite(loss, site)
    return rated


def _finite(loss: float, site: Site) -> float:
    if not np.isfinite(loss):
        raise NonFiniteValues(f"the predicted loss of {site.name} is {loss}; look for NaN in the model's outputs")
    return loss


def _recipe(problem: Problem, rated: Mapping[str, Mapping[int, Rated]], solution: Allocation | None) -> Recipe:
    inventory = problem.model.inventory
    if solution is None:
        bits = {name: next(iter(by_bits)) for name, by_bits in rated.items()}
        return Recipe.from_inventory(
            inventory,
            {name: rated[name][bits[name]][0] for name in bits},
            problem.target.name,
            "msqe",
            reasons={name: f"{b} bits: the only candidate" for name, b in bits.items()},
            costs=_costs(problem, bits),
            meta=problem.meta,
        )
    return Recipe.from_inventory(
        inventory,
        {name: rated[name][b][0] for name, b in solution.bits.items()},
        problem.target.name,
        "msqe",
        reasons=solution.reasons,
        budget=problem.budget.limits() if problem.budget else {},
        costs=_costs(problem, solution.bits),
        shadow_prices=solution.shadow_prices,
        meta=problem.meta,
    )


def _costs(problem: Problem, bits: Mapping[str, int]) -> dict[str, float]:
    """What the choice costs by every cost model that can say."""
    costs = {}
    for name, model in problem.cost_models.items():
        try:
            costs[name] = cost_of(model, problem.model.inventory, bits)
        except MPQError:
            if problem.budget is not None and name in problem.budget.limits():
                raise
    return costs


@hookimpl
def mpq_register_methods(register: Callable[[Any], None]) -> None:
    """Register msqe."""
    register(Msqe())

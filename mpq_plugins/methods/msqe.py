"""msqe: power-of-two thresholds of least squared error, post-training; bits by predicted loss.

From "A Closer Look at Hardware-Friendly Weight Quantization" (2210.03671): the threshold of a tensor
is the power of two of least (weighted) squared quantization error. Ours: the error of a weight is
measured at its layer's output and after compensated rounding, over the thresholds next to the
paper's; steps are free where the target's may be (free_steps.py); and bits are searched, by the rise of
the loss that a Kronecker-factored Fisher matrix predicts for each candidate
(sensitivity.predicted_loss), solved as a knapsack under the budget.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np

from mpq_plugins.allocation import Allocation, allocate
from mpq_plugins.capabilities import Candidate
from mpq_plugins.compensation.choice import Kind, choose_each
from mpq_plugins.compensation.factored import Factored
from mpq_plugins.costs import known_costs
from mpq_plugins.errors import NonFiniteValues
from mpq_plugins.free_steps import search_step, short, squared_error
from mpq_plugins.grid import Grid
from mpq_plugins.histogram import Histogram
from mpq_plugins.hookspecs import hookimpl
from mpq_plugins.inventory import Site
from mpq_plugins.methods.msqe_training import MsqeTraining
from mpq_plugins.moments import DAMPING, Array, by_group, damped
from mpq_plugins.problem import Problem
from mpq_plugins.progress import track
from mpq_plugins.ratings import Rated, Ratings, losses
from mpq_plugins.recipe import Recipe
from mpq_plugins.rounding import output_error
from mpq_plugins.shared_grids import search_shared
from mpq_plugins.thresholds import error_table, search_threshold

NEIGHBOURS = (-1, 0, 1)
"""Thresholds tried beside the one of least squared error, as differences of exponents."""
UNSEEN = 1e-30
"""Loss of a site that no gradient of the calibration data reaches, in nats for an error as large as its signal: too
little to take bits from another site, enough to take those that no other site needs."""
FREE_NEIGHBOURS = (-0.25, -0.125, 0.0, 0.125, 0.25)
"""The same where steps are free."""


@dataclass(frozen=True)
class Msqe:
    """The post-training method; a value without state."""

    name: str = "msqe"
    kind: str = "post-training"
    summary: str = "thresholds of least squared error, bits by predicted loss"
    paper: str = "arXiv:2210.03671"
    training: MsqeTraining = field(default_factory=MsqeTraining)
    """The same paper's method while training (mpq_plugins.training)."""

    def search(self, problem: Problem) -> Recipe:
        """Rate every candidate of every site, and allocate bits under the budget.

        Raises InfeasibleBudget, and NonFiniteValues naming the site.
        """
        return self.choose(problem, self.rate(problem))

    def rate(
        self, problem: Problem, known: Ratings = MappingProxyType({}), keep: Callable[[Ratings], None] | None = None
    ) -> Ratings:
        """The grid and the predicted loss of every candidate of every site; the budget plays no part.

        known: ratings from before; sites that they hold are not rated again. keep: is given the ratings of
        each group of sites as soon as they are there.
        Raises NonFiniteValues naming the site.
        """
        rated: dict[str, Mapping[int, Rated]] = dict(known)
        groups = [g for g in problem.model.inventory.groups().values() if any(site.name not in known for site in g)]
        for group in track(groups, "rating candidates", problem.progress):
            try:
                new = _rate_weight(problem, group[0]) if group[0].kind == "weight" else _rate_shared(problem, group)
            except NonFiniteValues as error:
                raise NonFiniteValues(f"site {group[0].name!r}: {error}") from None
            rated |= new
            if keep is not None:
                keep(new)
        return {site.name: rated[site.name] for site in problem.model.inventory}

    def choose(self, problem: Problem, ratings: Ratings, allocation: Allocation | None = None) -> Recipe:
        """The recipe of lowest total loss within the budget, or of an allocation. Raises InfeasibleBudget."""
        if problem.budget is not None and allocation is None:
            bits = {name: list(by_bits) for name, by_bits in ratings.items()}
            inventory = problem.model.inventory
            allocation = allocate(inventory, bits, losses(ratings), problem.budget, problem.cost_models)
        return _recipe(problem, ratings, allocation)


def _rate_weight(problem: Problem, site: Site) -> dict[str, dict[int, Rated]]:
    """Grid and predicted loss of every candidate of a weight."""
    weight = problem.model.weight(site.name)
    curvature = Factored.of(damped(problem.model.covariance(site.name), DAMPING))
    fisher = problem.model.output_fisher(site.name)
    importance = fisher.diagonal() if np.any(fisher) else None  # a layer without a gradient weighs its rows alike
    rated: dict[int, Rated] = {}
    candidates = problem.candidates[site.name]
    kinds = [Kind(c.bits, _weight_steps(weight, c), c.per_channel, c.narrow) for c in candidates]
    chosen = choose_each(weight, curvature, kinds, importance)
    for candidate, (grid, rounded) in zip(candidates, chosen, strict=True):
        on_site = Grid(grid.bits, grid.steps, True, grid.narrow, site.channel_axis if candidate.per_channel else None)
        if importance is not None:
            loss = curvature.predicted_loss(by_group(rounded - weight, len(curvature.matrix)), fisher)
        else:
            error, signal = (output_error(q, weight, curvature.matrix).sum() for q in (rounded, 0 * weight))
            loss = UNSEEN * _share(error, signal)
        rated[candidate.bits] = on_site, _finite(loss, site)
    return {site.name: rated}


def _weight_steps(weight: Array, candidate: Candidate) -> list[Array]:
    """The steps to try for a weight, each [1] or [out]: that of least squared error and its neighbours."""
    axis = 0 if candidate.per_channel else None
    if candidate.power_of_two:
        plain = search_threshold(weight, candidate.bits, narrow=candidate.narrow, axis=axis)
        return [np.ldexp(plain.steps, offset) for offset in NEIGHBOURS]
    free = search_step(weight, candidate.bits, narrow=candidate.narrow, axis=axis)
    return [short(np.asarray(free.steps) * 2.0**offset) for offset in FREE_NEIGHBOURS]


def _rate_shared(problem: Problem, group: tuple[Site, ...]) -> dict[str, dict[int, Rated]]:
    """Grid and predicted loss of every candidate of the activations that share one grid."""
    histograms = [problem.model.histogram(site.name) for site in group]
    energies = [problem.model.gradient_energy(site.name) for site in group]
    rated: dict[str, dict[int, Rated]] = {site.name: {} for site in group}
    for candidate in problem.candidates[group[0].name]:
        grid = search_shared(histograms, energies, candidate)
        for site, histogram, energy in zip(group, histograms, energies, strict=True):
            error = _histogram_error(histogram, grid)
            loss = 0.5 * error * energy if energy else UNSEEN * _share(error, max(-histogram.min, histogram.max) ** 2)
            rated[site.name][candidate.bits] = grid, _finite(loss, site)
    return rated


def _histogram_error(histogram: Histogram, grid: Grid) -> float:
    if grid.is_power_of_two:
        return float(error_table(histogram, [grid.bits], grid.exponents, grid.signed).error.item())
    return squared_error(histogram, grid)


def _share(error: float, signal: float) -> float:
    return error / signal if signal > 0 else 0.0


def _finite(loss: float, site: Site) -> float:
    if not np.isfinite(loss):
        raise NonFiniteValues(f"the predicted loss of {site.name} is {loss}; look for NaN in the model's outputs")
    return loss


def _recipe(problem: Problem, rated: Mapping[str, Mapping[int, Rated]], solution: Allocation | None) -> Recipe:
    inventory = problem.model.inventory
    limits = problem.budget.limits() if problem.budget else {}
    if solution is None:
        bits = {name: next(iter(by_bits)) for name, by_bits in rated.items()}
        return Recipe.from_inventory(
            inventory,
            {name: rated[name][bits[name]][0] for name in bits},
            problem.target.name,
            "msqe",
            reasons={name: f"{b} bits: the only candidate" for name, b in bits.items()},
            costs=known_costs(problem.cost_models, inventory, bits, limits),
            predicted=_predicted(rated, bits),
            meta=problem.meta,
        )
    return Recipe.from_inventory(
        inventory,
        {name: rated[name][b][0] for name, b in solution.bits.items()},
        problem.target.name,
        "msqe",
        reasons=solution.reasons,
        budget=limits,
        costs=known_costs(problem.cost_models, inventory, solution.bits, limits),
        shadow_prices=solution.shadow_prices,
        predicted=_predicted(rated, solution.bits),
        meta=problem.meta,
    )


def _predicted(rated: Ratings, bits: Mapping[str, int]) -> dict[str, float]:
    """The predicted rise of the loss of a choice, as an allocation adds it up."""
    table = losses(rated)
    return {"loss": math.fsum(dict(zip(rated[name], table[name], strict=True))[b] for name, b in bits.items())}


@hookimpl
def mpq_register_methods(register: Callable[[Any], None]) -> None:
    """Register msqe."""
    register(Msqe())

"""ohq: bits by an integer programme over measured latency and mask-guided sensitivity, post-training.

After "On-Chip Hardware-Aware Quantization for Mixed Precision Neural Networks" (2309.01945), of which the
abstract and summaries were at hand and the formulas were not. What is followed: operators are measured on
the device, layers are rated by masking and KL divergence, and an integer programme weighs both:

    max  sum_i alpha * Omega_i * b_i / B - beta * T_i(b_i) / T - gamma * E_i(b_i) / E     within the budget

Ours: Omega is divided by its largest value; B is the most bits of any site, T and E what all sites together
take at their most bits; thresholds are those of method msqe. The gain that is linear in b drives sites to
their fewest or their most bits where there are more than two candidates, so the registered method uses the
power of quantization noise instead; Ohq(measure=MaskGuided(gain="linear")) is the sum above.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from mpq_plugins.allocation.allocator import Allocation, allocate
from mpq_plugins.costs.budget import limits_of
from mpq_plugins.costs.cost_models import CostModel, cost_of
from mpq_plugins.errors import MPQError
from mpq_plugins.inventory import Inventory
from mpq_plugins.papers.msqe import Msqe
from mpq_plugins.plugins.hookspecs import hookimpl
from mpq_plugins.recipe.recipe import Recipe
from mpq_plugins.search.method import PostTrainingMethod
from mpq_plugins.search_input import Problem
from mpq_plugins.sensitivity.masking import BEST_MASK, MaskGuided
from mpq_plugins.sensitivity.rating import Rates, Sensitivity, sites_with_a_choice
from mpq_plugins.sensitivity.table import sensitivity

TIME, ENERGY = "latency_ms", "energy_mj"

BitCosts = Mapping[str, Mapping[int, float]]
"""Site -> bits -> a cost."""


@dataclass(frozen=True)
class Ohq(PostTrainingMethod):
    """The method; a value without state. The registered one has the defaults; pass another as ``method=``.

    alpha, beta, gamma: weights of accuracy, latency and energy, 0 or more. A resource without a table has
        no part in the sum, and limits of the budget hold whatever the weights are.
    measure: the sensitivity, by name ("mask", "kl", "sqnr", "fisher") or as a value: MaskGuided(...). By default the
        whole of a layer takes its values at the fewest bits, which ranks layers best (benchmarks.sensitivities
        --ranks); the paper's random mask is MaskGuided(gain="noise").

    Raises MPQError on a weight that is negative or not finite.
    """

    alpha: float = 0.5
    beta: float = 0.25
    gamma: float = 0.25
    measure: str | Sensitivity = field(default_factory=lambda: replace(BEST_MASK, gain="noise"))
    name: str = "ohq"
    summary: str = "bits by measured latency and mask-guided sensitivity, in one integer programme"
    paper: str = "arXiv:2309.01945"
    remeasures = True

    def __post_init__(self) -> None:
        for name in ("alpha", "beta", "gamma"):
            value = getattr(self, name)
            if not (np.isfinite(value) and value >= 0):
                raise MPQError(f"{name} is a finite weight of 0 or more, got {value}")

    def search(self, problem: Problem) -> Recipe:
        """Rate the sites that have a choice, solve the programme, and put each tensor on a grid of its bits.

        Raises InfeasibleBudget, with the smallest reachable value of each limited resource.
        """
        if problem.budget is None:
            return replace(Msqe().search(problem), method=self.name)
        measure = sensitivity(self.measure)
        rates = measure.rate(problem, sites_with_a_choice(problem))
        bits = {name: tuple(c.bits for c in kinds) for name, kinds in problem.candidates.items()}
        inventory = problem.model.inventory
        times, energies = (shares_of(problem.cost_models.get(r), inventory, bits) for r in (TIME, ENERGY))
        losses = programme(accuracy_losses(rates, bits, measure), times, energies, self.alpha, self.beta, self.gamma)
        solution = allocate(inventory, bits, losses, problem.budget, problem.cost_models)
        return self._recipe(problem, solution, rates, times, measure)

    def _recipe(
        self, problem: Problem, solution: Allocation, rates: Rates, times: BitCosts, measure: Sensitivity
    ) -> Recipe:
        chosen = {
            name: tuple(c for c in kinds if c.bits == solution.bits[name]) for name, kinds in problem.candidates.items()
        }
        found = Msqe().search(replace(problem, candidates=chosen, budget=None))
        reasons = {
            entry.site: _reason(entry.site, solution.bits[entry.site], solution.reasons, rates, times, measure)
            for entry in found.sites
        }
        limits = limits_of(problem.budget)
        return replace(
            found,
            method=self.name,
            sites=tuple(replace(entry, reason=reasons[entry.site]) for entry in found.sites),
            budget=limits,
            costs=dict(found.costs) | {name: cost.value for name, cost in solution.costs.items()},
            shadow_prices=solution.shadow_prices,
            predicted=dict(found.predicted) | {"objective": -solution.loss},
            meta=dict(found.meta) | {"sensitivity": measure.name},
        )


def accuracy_losses(
    rates: Mapping[str, Mapping[int, float]], bits: Mapping[str, Sequence[int]], measure: Sensitivity
) -> dict[str, dict[int, float]]:
    """Rates on a common scale, 0 for a site without a choice; the largest is 1, or all are 0.

    A mask-guided rate is Omega_i * (1 - b / B): what is divided by is the largest Omega, so that it
    becomes the paper's term but for a constant.
    """
    largest = max((value for row in rates.values() for value in row.values()), default=0.0)
    if isinstance(measure, MaskGuided) and measure.gain == "linear":
        most = max((b for site in rates for b in bits[site]), default=1)
        largest = max((row[b] / (1 - b / most) for row in rates.values() for b in row if b < most), default=0.0)
    # not multiplied with an inverse: that of a subnormal rate is infinite; by infinity all become 0
    scale = largest if largest > 0 else math.inf
    return {site: {b: rates.get(site, {}).get(b, 0.0) / scale for b in options} for site, options in bits.items()}


def programme(
    accuracy: BitCosts, times: BitCosts, energies: BitCosts, alpha: float = 0.5, beta: float = 0.25, gamma: float = 0.25
) -> dict[str, list[float]]:
    """The losses that the programme adds up, by site and candidate: the negative of its gain, but for a constant.

    times, energies: as shares of the whole (``shares_of``); empty where there is no table.
    """
    return {
        site: [
            alpha * loss + beta * times.get(site, {}).get(b, 0.0) + gamma * energies.get(site, {}).get(b, 0.0)
            for b, loss in row.items()
        ]
        for site, row in accuracy.items()
    }


def shares_of(
    model: CostModel | None, inventory: Inventory, bits: Mapping[str, Sequence[int]]
) -> dict[str, dict[int, float]]:
    """What each choice adds to a summed cost, over what all sites cost at their most bits; {} without a model.

    A cost of two sites together (weight and input activation) is divided between them by its best additive
    fit, which is exact where one of the two has no choice. Raises MPQError for a cost that is no sum.
    """
    if model is None:
        return {}
    rows = model.rows(inventory)
    if len(rows) != 1:
        raise MPQError(
            f"the programme weighs sums, and this cost is the largest of {len(rows)}; limit it in the budget"
        )
    shares: dict[str, dict[int, float]] = {site: dict.fromkeys(options, 0.0) for site, options in bits.items()}
    whole = 0.0
    for term in rows[0].terms:
        if not term.sites:
            continue
        options = [bits[site] for site in term.sites]
        table = np.array([[term(a, b) for b in options[1]] for a in options[0]]) if len(options) == 2 else None
        if table is None:
            parts = [np.array([term(b) for b in options[0]])]
        else:
            own = table.mean(axis=1)
            parts = [own, table.mean(axis=0) - own.mean()]
        whole += term(*(option[int(np.argmax(option))] for option in options))
        for site, part in zip(term.sites, parts, strict=True):
            for b, value in zip(bits[site], part, strict=True):
                shares[site][b] += float(value)
    return {s: {b: value / whole if whole else 0.0 for b, value in row.items()} for s, row in shares.items()}


def sweep(
    accuracy: BitCosts,
    cost: CostModel,
    inventory: Inventory,
    ratios: Sequence[float] = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0),
) -> list[tuple[float, dict[str, int], float]]:
    """For each weight beta = 1 - alpha: (beta, bits, cost) of the unlimited programme, the trade-off as a curve."""
    bits = {site: tuple(row) for site, row in accuracy.items()}
    times = shares_of(cost, inventory, bits)
    found = []
    for beta in ratios:
        losses = programme(accuracy, times, {}, 1 - beta, beta)
        best = {s: min(zip(losses[s], bits[s], strict=True), key=lambda pair: pair)[1] for s in bits}
        found.append((beta, best, cost_of(cost, inventory, best)))
    return found


def _reason(
    site: str, bits: int, reasons: Mapping[str, str], rates: Rates, times: BitCosts, measure: Sensitivity
) -> str:
    """The solver's reason, and the two numbers that it weighed."""
    if site not in rates:
        return reasons[site]
    costs = ", ".join(f"{b}: {value:.3g}" for b, value in rates[site].items())
    share = f", {100 * times[site][bits]:.2g} % of the latency" if times.get(site, {}).get(bits) else ""
    return f"{reasons[site]} ({measure.name} {costs}{share})"


@hookimpl
def mpq_register_methods(register: Callable[[Any], None]) -> None:
    """Register ohq."""
    register(Ohq())

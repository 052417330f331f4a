"""Allocation: which bits every site gets, so that the loss is lowest within the budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mpq_plugins.allocation.choices import Choices, arrange
from mpq_plugins.allocation.highs import smallest
from mpq_plugins.allocation.reasons import explain
from mpq_plugins.allocation.solver import solve
from mpq_plugins.costs.budget import Budget
from mpq_plugins.costs.cost_models import COST_MODELS, CostModel
from mpq_plugins.errors import BudgetError, InfeasibleBudget
from mpq_plugins.inventory import Inventory

EXACT = 300
"""Groups with a choice up to which the optimum is proven by default; beyond, DEFAULT_GAP of the regret is."""
DEFAULT_GAP = 1e-4
_ROUNDING = 1e-12  # of the regret: float64 sums in another order differ by less


@dataclass(frozen=True)
class Cost:
    """What an allocation costs of one limited resource.

    price: the shadow price, the loss that one more unit of the limit would save, 0 or more. It is the
        dual of the linear relaxation, where a fraction of a candidate may be taken: exact for a small
        change of a budget shared by many sites, and 0 where the limit does not bind.
    """

    value: float
    limit: float
    unit: str
    price: float


@dataclass(frozen=True)
class Allocation:
    """The bits of every site, what they cost, and why.

    bits: by site. loss: the sum over sites. costs: by limited resource. reasons: by site, one line each.
    bound: proven: no choice of candidates within the budget has a lower loss.
    gap: (loss - bound) / regret, where the regret is the loss above that of the best candidate of every
        site, budget or not; 0 for a proven optimum. It does not change when losses are scaled or
        shifted, and is at least (loss - bound) / loss where losses are not negative.
    """

    bits: Mapping[str, int]
    loss: float
    bound: float
    gap: float
    costs: Mapping[str, Cost]
    reasons: Mapping[str, str]

    @property
    def shadow_prices(self) -> dict[str, float]:
        """By limited resource: the loss that one more unit of its limit would save."""
        return {name: cost.price for name, cost in self.costs.items()}

    def __str__(self) -> str:
        lines = [f"loss {self.loss:.6g}, proven within {self.gap:.1g} of its excess over no budget"]
        for name, cost in self.costs.items():
            lines.append(
                f"{name.replace('_', ' ')}: {cost.value:,.10g} of {cost.limit:,.10g} {cost.unit}; "
                f"one more would save {cost.price:.3g} of loss"
            )
        return "\n".join([*lines, *(f"{site}: {reason}" for site, reason in self.reasons.items())])


def allocate(
    inventory: Inventory,
    candidates: Mapping[str, Sequence[int]],
    losses: Mapping[str, Sequence[float]],
    budget: Budget,
    cost_models: Mapping[str, CostModel] = COST_MODELS,
    *,
    gap: float | None = None,
    time_limit: float = 60.0,
) -> Allocation:
    """The bits of lowest total loss within all limits of the budget at once, by integer programming.

    candidates: bits that a site may get. Sites of one group (``Site.group``) get the same bits, so
        they choose among those that all of them have. A site that keeps its bits has one candidate.
        A site without candidates is not allocated; no limited resource may count it.
    losses: for each candidate of a site, what it costs in accuracy; losses add up over sites. Any finite
        numbers, of any size. A site with one candidate needs none.
    cost_models: by resource name, those of the budget's limits.
    gap: where the search may stop, as a fraction of the regret (see Allocation.gap). None: 0 up to
        EXACT groups with a choice, DEFAULT_GAP beyond.
    time_limit: seconds, after which the best allocation so far is returned with the gap proven by then.

    The result is the same in every run that stays within the time limit. Among candidates of equal loss
    a site takes the fewest bits that raise no cost; between sites that tie, the solver's order decides.

    Raises AllocationError on candidates, losses or groups that do not fit together, NonFiniteValues on
    such a loss, BudgetError where a limited resource has no cost model, and InfeasibleBudget.

    >>> from mpq_plugins.inventory import Site
    >>> shapes = {"a": (1000,), "b": (4000,), "c": (2000,)}
    >>> inventory = Inventory(Site(name, "weight", "linear", shape) for name, shape in shapes.items())
    >>> bits = {name: (4, 8) for name in shapes}
    >>> losses = {"a": (0.5, 0.0), "b": (0.1, 0.0), "c": (0.25, 0.0)}
    >>> allocation = allocate(inventory, bits, losses, Budget(weight_bytes=5000))
    >>> allocation.bits, allocation.loss
    ({'a': 8, 'b': 4, 'c': 8}, 0.1)
    >>> allocation.reasons["b"]
    '4 bits, its least: 8 would lower the loss by 0.1 but needs 2,000 more weight bytes, and 0 are left'
    """
    limits = budget.limits()
    choices = arrange(inventory, candidates, losses, models_of(limits, cost_models))
    return allocate_choices(choices, limits, gap, time_limit)


def models_of(
    resources: Sequence[str] | Mapping[str, float], cost_models: Mapping[str, CostModel]
) -> dict[str, CostModel]:
    """The cost models of these resources; raises BudgetError naming those that have none."""
    missing = [name for name in resources if name not in cost_models]
    if missing:
        hint = "; latency_ms takes a LatencyTable" if "latency_ms" in missing else ""
        raise BudgetError(f"no cost model for {', '.join(missing)}; there are {', '.join(cost_models) or 'none'}{hint}")
    return {name: cost_models[name] for name in resources}


def allocate_choices(choices: Choices, limits: Mapping[str, float], gap: float | None, time_limit: float) -> Allocation:
    """The allocation of choices that are arranged already."""
    problem, row_resources = choices.within(limits)
    if gap is None:
        gap = 0.0 if sum(len(bits) > 1 for bits in choices.bits) <= EXACT else DEFAULT_GAP
    solution = solve(problem, gap, time_limit)
    if solution is None:
        raise infeasible(choices, limits)
    prices = {name: float(solution.prices[row_resources == name].sum()) for name in limits}
    spent = choices.costs(solution.chosen)
    costs = {
        name: Cost(min(spent[name], limit), limit, choices.units[name], prices[name]) for name, limit in limits.items()
    }
    bits = choices.bits_of(solution.chosen)
    regret = float(problem.regret[solution.chosen].sum())
    return Allocation(
        bits={site: b for group, b in zip(choices.groups, bits, strict=True) for site in group},
        loss=solution.loss,
        bound=solution.loss - min(solution.excess, regret),
        gap=min(1.0, solution.excess / regret) if solution.excess > _ROUNDING * regret > 0 else 0.0,
        costs=costs,
        reasons=explain(choices, problem, row_resources, solution),
    )


def smallest_cost(choices: Choices, resource: str, limits: Mapping[str, float]) -> float | None:
    """The least that any choice costs of ``resource`` within limits of the others; None if none is."""
    others = {name: limit for name, limit in limits.items() if name != resource}
    problem, row_resources = choices.within({**others, resource: 0.0})
    chosen = smallest(problem, row_resources == resource)
    return None if chosen is None else choices.costs(chosen)[resource]


def infeasible(choices: Choices, limits: Mapping[str, float]) -> InfeasibleBudget:
    """The error that says which limits are too small, alone or together, and what can be reached."""
    alone = {name: smallest_cost(choices, name, {}) for name in limits}
    reachable = {name: least for name, least in alone.items() if least is not None}
    short = [name for name, least in reachable.items() if least > limits[name]]
    if short:
        each = "; ".join(
            f"{name} is limited to {limits[name]:,.10g} and its smallest reachable value is "
            f"{reachable[name]:,.10g} {choices.units[name]}"
            for name in short
        )
        met = [f"{name} {least:,.10g}" for name, least in reachable.items() if name not in short]
        others = f" (of the limits that can be met: {', '.join(met)})" if met else ""
        return InfeasibleBudget(
            f"no choice of candidates meets the budget: {each}{others}. Raise the limit, or allow fewer bits", reachable
        )
    together = {name: smallest_cost(choices, name, limits) for name in limits}
    least = ", ".join(f"{name} {value:,.10g}" for name, value in reachable.items())
    ways = " or ".join(f"{name} to {value:,.10g}" for name, value in together.items() if value is not None)
    way = f"raise {ways}" if ways else "raise several limits"
    return InfeasibleBudget(
        f"each limit of the budget can be met alone (smallest reachable: {least}), but not all together; "
        f"{way}, or allow fewer bits",
        reachable,
    )

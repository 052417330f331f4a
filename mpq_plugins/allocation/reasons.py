"""Why a site got its bits: one true, short line for each."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.allocation.choices import Choices
from mpq_plugins.allocation.knapsack import Knapsack, Swaps
from mpq_plugins.allocation.solver import Solution

_NAMED = 3  # sites of a group that are named
_ROUNDING = 1e-9
_CLEARLY = 1 - 1e-6  # a loss below this part of another is less than it, rounding aside


def explain(choices: Choices, problem: Knapsack, row_resources: NDArray[np.str_], solution: Solution) -> dict[str, str]:
    """A reason for each site, from what its next candidate would change while all others stay.

    What a change of costs is worth is taken at the shadow prices: the loss that it would save at other
    sites, by the linear relaxation.
    """
    swaps = problem.swaps(solution.chosen)
    view = _View(problem, row_resources, solution, swaps)
    reasons = {}
    for at, (group, bits) in enumerate(zip(choices.groups, choices.bits, strict=True)):
        reason = view.reason(at, bits)
        for site in group:
            reasons[site] = reason + _shared(site, group)
    return reasons


class _View:
    """What the reasons of one solution have in common."""

    def __init__(self, problem: Knapsack, row_resources: NDArray[np.str_], solution: Solution, swaps: Swaps) -> None:
        self.first = problem.starts
        self.chosen = solution.chosen
        self.row_resources = row_resources
        self.prices = solution.prices
        self.swaps = swaps
        self.worth = np.asarray(swaps.costs.T @ solution.prices)
        self.room = problem.limits - problem.activity(solution.chosen)

    def reason(self, decision: int, bits: tuple[int, ...]) -> str:
        first = int(self.first[decision])
        own = int(self.chosen[decision]) - first
        if len(bits) == 1:
            return f"{bits[0]} bits: its only candidate"
        edge = ", its least" if own == 0 else ", its most" if own == len(bits) - 1 else ""
        says = f"{bits[own]} bits{edge}: "
        gains = -self.swaps.loss[first : first + len(bits)]
        better = [at for at in range(len(bits)) if gains[at] > 0]
        if better:
            next_one = min(better, key=lambda at: (at < own, abs(at - own)))
            return says + self._not_taken(first + next_one, bits[next_one], float(gains[next_one]))
        if own > 0:
            saved = float(-self.worth[first + own - 1])
            raised = float(-gains[own - 1])
            if 0 < saved < raised * _CLEARLY:
                more, less = _apart(raised, saved)
                would = f"{bits[own - 1]} would raise the loss by {more}, more than the {less}"
                return f"{says}{would} that {self._amounts(first + own - 1, -1.0)} could save elsewhere"
        return f"{says}no candidate has a lower loss"

    def _not_taken(self, column: int, bits: int, gain: float) -> str:
        worth = float(self.worth[column])
        if gain < worth * _CLEARLY:
            more, less = _apart(worth, gain)
            amounts = self._amounts(column, 1.0)
            return f"{bits} would lower the loss by {less}, less than the {more} that {amounts} can save elsewhere"
        rows, changes = self._changes(column)
        over = changes - self.room[rows]
        worst = int(np.argmax(over))
        resource = _words(self.row_resources[rows[worst]])
        room = float(self.room[rows[worst]])
        left = room if room > _ROUNDING * changes[worst] else 0.0  # limits carry a tolerance for rounding
        return (
            f"{bits} would lower the loss by {gain:.3g} but needs {_amount(changes[worst])} more {resource}, "
            f"and {_amount(left)} are left"
        )

    def _amounts(self, column: int, sign: float) -> str:
        """What the column takes (sign 1) or frees (-1) of each resource with a price."""
        rows, changes = self._changes(column)
        largest: dict[str, float] = {}
        for row, change in zip(rows, sign * changes, strict=True):
            if self.prices[row] > 0 and change > 0:
                name = str(self.row_resources[row])
                largest[name] = max(change, largest.get(name, 0.0))
        return " and ".join(f"{_amount(value)} {_words(name)}" for name, value in largest.items())

    def _changes(self, column: int) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        costs = self.swaps.costs
        part = slice(costs.indptr[column], costs.indptr[column + 1])
        return costs.indices[part], costs.data[part]


def _shared(site: str, group: tuple[str, ...]) -> str:
    others = [name for name in group if name != site]
    if not others:
        return ""
    more = f" and {len(others) - _NAMED} more" if len(others) > _NAMED else ""
    return f"; shares its grid with {', '.join(others[:_NAMED])}{more}"


def _words(resource: str) -> str:
    return str(resource).replace("_", " ")


def _amount(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 and value == round(value) else f"{value:,.4g}"


def _apart(larger: float, smaller: float) -> tuple[str, str]:
    """Both with as few digits as tell them apart."""
    for digits in range(3, 17):
        texts = f"{larger:.{digits}g}", f"{smaller:.{digits}g}"
        if texts[0] != texts[1]:
            break
    return texts

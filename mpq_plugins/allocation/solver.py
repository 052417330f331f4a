"""Solves the knapsack to proven optimality.

The linear relaxation comes first: its duals are the shadow prices, and by Lagrangian duality they bound
from below every solution that has a given column, in plain float64 and whatever the solver's tolerances.
On a large problem a small core of promising columns then gives a solution, all columns whose bound is
above it are discarded, and branch and bound proves the optimum among the few that are left.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.allocation.highs import Branched, Relaxed, branch
from mpq_plugins.allocation.knapsack import Columns, Floats, Knapsack
from mpq_plugins.allocation.sifting import relaxation
from mpq_plugins.errors import AllocationError

_SMALL = 1000  # columns up to which discarding some first is not worth it
_GROWTH = 4  # of the core of promising columns, until it is nearly all that is left
_CORE_GAP = 1e-4  # where the search in a core stops, if the optimum is asked for

_CORE_NODES = 50  # at which the search in a core stops
_CAP = 1e7  # the largest loss that HiGHS sees
_TOTALS = (1e2, 1e7)  # where the total that HiGHS sees should lie; it tells totals 1e-6 apart
_ROUNDS = 12  # of finding a scale
_SMALLEST = 1e4  # how large the smallest loss needs to be for it


@dataclass(frozen=True, eq=False)
class Solution:
    """chosen: [decisions] columns. loss: their sum. excess: proven, the optimum is at most so much lower.

    prices: [rows] loss per unit of the row's limit, by the linear relaxation; 0 or more.
    """

    chosen: Columns
    loss: float
    excess: float
    prices: Floats


def solve(problem: Knapsack, gap: float, time_limit: float) -> Solution | None:
    """The solution of lowest loss; None when there is none.

    gap: how far from the optimum the search may stop, as a fraction of the regret (the loss above the
        sum of each decision's lowest). time_limit: seconds after which the best solution so far is
        returned, with what is proven by then; raises AllocationError if none is known by then.
    """
    deadline = time.monotonic() + time_limit
    best = problem.lowest_loss()
    if problem.meets(problem.activity(best)):
        best = polish(problem, best)
        return Solution(best, float(problem.loss[best].sum()), 0.0, np.zeros(len(problem.limits)))
    restricted = problem.affordable(problem.limits)
    if restricted is None or np.any(problem.limits < 0):
        return None
    smaller, old = restricted
    found = _solve_at_scale(smaller, gap, deadline)
    if found is None:
        return None
    chosen = polish(problem, old[found.chosen])
    loss = float(problem.loss[chosen].sum())
    return replace(found, chosen=chosen, loss=loss, excess=max(0.0, found.excess - (found.loss - loss)))


def polish(problem: Knapsack, chosen: Columns) -> Columns:
    """Takes swaps that lower the loss within the limits, then ties that cost less.

    It leaves a proven optimum as it is but for ties: among candidates of equal loss it takes the first,
    the one of fewest bits, that raises no row.
    """
    own = problem.block[: problem.choices]
    while True:
        swaps = problem.swaps(chosen)
        better = np.flatnonzero(swaps.fits & (swaps.loss < 0))
        ties = np.flatnonzero((np.arange(problem.choices) < chosen[own]) & swaps.frees & (swaps.loss == 0))
        if len(better):
            taken = better[[np.argmin(swaps.loss[better])]]
        elif len(ties):
            taken = ties[np.unique(own[ties], return_index=True)[1]]
        else:
            return chosen
        together = chosen.copy()
        together[own[taken]] = taken
        if not problem.meets(problem.activity(together)):
            together = chosen.copy()
            together[own[taken[0]]] = taken[0]
        chosen = together


def _solve_at_scale(problem: Knapsack, gap: float, deadline: float) -> Solution | None:
    """Gives HiGHS losses of a size that it can tell apart, whatever the size and spread of the true ones.

    Losses above a cap are capped. That only lowers them, so an optimum that avoids capped columns is an
    optimum of the true losses; where it does not, the cap rises.
    """
    spread = problem.regret[problem.regret > 0]
    finest, scale = (float(spread.min()) / _SMALLEST, float(np.median(spread))) if len(spread) else (1.0, 1.0)
    coarsest = max(scale, float(problem.regret.max()) / _CAP)
    rounds, settled = 0, False
    before: tuple[float, Relaxed] | None = None
    while True:
        rounds += 1
        loss = np.minimum(problem.regret / scale, _CAP)
        relaxed = relaxation(problem, loss)
        if relaxed is None:
            return None
        if np.isnan(relaxed.value):
            if before is not None and not settled:
                scale, relaxed = before
                loss = np.minimum(problem.regret / scale, _CAP)
            settled = True
        else:
            before = scale, relaxed
        if not settled and not _TOTALS[0] <= relaxed.value <= _TOTALS[1]:
            wanted = min(max(scale * max(relaxed.value, 1e-6) / 1e4, finest), coarsest)
            settled = wanted in (scale, finest, coarsest) or rounds == _ROUNDS
            if wanted != scale:
                scale = wanted
                continue
        found = _optimum(problem, loss, relaxed, gap, deadline)
        if found.chosen is None:
            if np.isinf(found.bound):
                return None
            raise AllocationError("HiGHS found no solution in time; raise time_limit, or allow a larger gap")
        regret = problem.regret[found.chosen]
        if np.any(regret > _CAP * scale):
            settled, scale = True, min(scale * 1e3, coarsest)
            continue
        true = float(problem.loss[found.chosen].sum())
        excess = float(regret.sum()) - max(0.0, found.bound * scale)
        price_scale, priced = before or (scale, relaxed)
        return Solution(found.chosen, true, max(0.0, excess), priced.prices * price_scale)


def _optimum(problem: Knapsack, loss: Floats, relaxed: Relaxed, gap: float, deadline: float) -> Branched:
    bound, reduced = _reduced_losses(problem, loss, relaxed)
    stop = gap * max(bound, 0.0)
    keep = np.ones(problem.columns, dtype=bool)
    known = Branched(None, np.inf, bound)
    choices = np.sort(reduced[: problem.choices])
    core = problem.decisions // 4
    while problem.columns > _SMALL and core * _GROWTH < np.count_nonzero(keep[: problem.choices]) - problem.decisions:
        promising = keep.copy()
        promising[: problem.choices] &= reduced[: problem.choices] <= choices[problem.decisions + core]
        found = _branch_within(problem, loss, promising, stop / 4 or _CORE_GAP * bound, deadline, _CORE_NODES)
        known = min(known, found, key=lambda branched: branched.value)
        if known.value - bound <= stop:
            return Branched(known.chosen, known.value, min(known.value, bound))
        keep = reduced <= (known.value - bound) + 1e-9 * abs(bound)
        core *= _GROWTH
    rest = _branch_within(problem, loss, keep, stop, deadline)
    best = min(known, rest, key=lambda branched: branched.value)
    if best.chosen is None:
        return rest
    return Branched(best.chosen, best.value, min(best.value, max(bound, rest.bound)))


def _reduced_losses(problem: Knapsack, loss: Floats, relaxed: Relaxed) -> tuple[float, Floats]:
    """A lower bound of every solution, and [columns] what a solution with that column has above it."""
    priced = np.concatenate([loss, np.zeros(problem.columns - problem.choices)])
    priced += problem.rows.T @ relaxed.prices
    if len(problem.ends):
        priced -= problem.links.T @ relaxed.links
    least = np.minimum.reduceat(priced, problem.starts)
    bound = float(least.sum() - relaxed.prices @ problem.limits)
    reduced = priced - least[problem.block]
    if len(problem.ends):
        # a choice takes a product of every block that it is an end of, a product takes both its ends
        own, products = reduced[: problem.choices].copy(), reduced[problem.choices :]
        block = problem.block[problem.choices :].astype(np.int64)
        for side in (0, 1):
            key, place = np.unique(block * problem.choices + problem.ends[:, side], return_inverse=True)
            cheapest = np.full(len(key), np.inf)
            np.minimum.at(cheapest, place.ravel(), products)
            np.add.at(reduced, key % problem.choices, cheapest)
        products += own[problem.ends[:, 0]] + own[problem.ends[:, 1]]
    return bound, reduced


def _branch_within(
    problem: Knapsack, loss: Floats, keep: NDArray[np.bool_], stop: float, deadline: float, nodes: int | None = None
) -> Branched:
    """Branch and bound over the kept columns, until a solution is proven within ``stop`` of the best."""
    restricted = problem.restrict(keep)
    if restricted is None:
        return Branched(None, np.inf, np.inf)
    smaller, old = restricted
    settled, open_, left = smaller.settle()
    if not left.columns:
        fits = bool(np.all(left.limits >= 0))
        value = float(loss[old[settled]].sum()) if fits else np.inf
        return Branched(old[settled] if fits else None, value, value)
    found = branch(left, loss[old[open_[: left.choices]]], stop, deadline - time.monotonic(), nodes)
    if found.chosen is None:
        return found
    taken = np.sort(np.concatenate([settled, open_[found.chosen]]))
    constant = float(loss[old[settled]].sum())
    return Branched(old[taken], found.value + constant, found.bound + constant)

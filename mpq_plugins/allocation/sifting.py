"""The linear relaxation of many decisions, from the few candidates that its prices leave in doubt.

At the prices of the limits almost every decision has one candidate that beats its others by far. The bound that prices
give is concave in them, and of many decisions nearly smooth: a quasi-Newton ascent comes near the best ones. The
programme of the candidates that are good there gives exact ones; what any other candidate then undercuts joins it.
When nothing does, the programme's value meets the bound that its prices give for all candidates, and so it and they
are those of the full programme.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.allocation.highs import Relaxed, relax
from mpq_plugins.allocation.knapsack import Floats, Knapsack

_LARGE = 5000  # columns from which on sifting is faster than HiGHS with all of them
_EXTRA = 0.25  # candidates besides the best one that the first programme has of a decision, on average
_STEPS = 200  # of the ascent: bounds asked for
_ROUNDS = 10
_EQUAL = 1e-9  # of the value: HiGHS's own tolerances


def relaxation(problem: Knapsack, loss: Floats) -> Relaxed | None:
    """highs.relax, in a fraction of the time where decisions are many and no costs of two multiply."""
    if problem.columns < _LARGE or len(problem.ends):
        return relax(problem, loss)
    reduced = _reduced(problem, loss, _ascended(problem, loss))[1]
    most = problem.blocks + int(_EXTRA * problem.blocks)
    keep = reduced <= np.sort(reduced)[min(most, problem.columns) - 1]
    for _ in range(_ROUNDS):
        found = _among(problem, loss, keep)
        if found is None or np.isnan(found.value):
            break
        bound, reduced = _reduced(problem, loss, found.prices)
        if found.value - bound <= _EQUAL * max(abs(bound), 1.0):
            return found
        least = np.minimum.reduceat(np.where(keep, reduced, np.inf), problem.starts)
        keep |= reduced < least[problem.block]
    return relax(problem, loss)


def _ascended(problem: Knapsack, loss: Floats) -> Floats:
    """Prices near those of the highest bound."""
    from scipy.optimize import minimize

    unit = np.where(problem.limits > 0, problem.limits, 1.0)

    def negated(scaled: Floats) -> tuple[float, Floats]:
        bound, reduced = _reduced(problem, loss, scaled / unit)
        best = np.flatnonzero(reduced == 0)
        best = best[np.unique(problem.block[best], return_index=True)[1]]
        return -bound, (problem.limits - problem.activity(best)) / unit

    start = np.zeros(len(unit))
    found = minimize(
        negated, start, jac=True, method="L-BFGS-B", bounds=[(0, None)] * len(unit), options={"maxfun": _STEPS}
    )
    return np.asarray(found.x) / unit


def _among(problem: Knapsack, loss: Floats, keep: NDArray[np.bool_]) -> Relaxed | None:
    """The relaxation of the kept candidates; decisions with a single one are settled."""
    restricted = problem.restrict(keep)
    if restricted is None:
        return None
    smaller, old = restricted
    settled, open_, left = smaller.settle()
    constant = float(loss[old[settled]].sum())
    if not left.columns:
        return None
    found = relax(left, loss[old[open_]])
    return None if found is None else Relaxed(found.value + constant, found.prices, found.links)


def _reduced(problem: Knapsack, loss: Floats, prices: Floats) -> tuple[float, Floats]:
    """A lower bound of every solution, and [columns] what a candidate has above the best of its decision, at prices."""
    priced = loss + problem.rows.T @ prices
    least = np.minimum.reduceat(priced, problem.starts)
    return float(least.sum() - prices @ problem.limits), np.asarray(priced - least[problem.block])

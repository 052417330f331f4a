"""What HiGHS does for the knapsack: its linear relaxation, branch and bound, and the smallest peak."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray

from mpq_plugins.allocation.knapsack import Columns, Floats, Knapsack
from mpq_plugins.terminal.silence import silenced

_INTERIOR_POINT = 20000  # columns above which the interior point method is faster than the simplex
_ROW_SCALE = 10.0  # the largest cost of a row as HiGHS sees it
_PEAK_SCALE = 1e3  # the same where the row itself is minimised
_NEGLIGIBLE = 1e-12  # of a limit: a cost that counts for nothing
_TINY = 1e-290  # below it, dividing overflows
_CUTS = 10  # solutions above a limit by HiGHS's tolerance that are cut off one by one, if the optimum is asked for
_MARGINS = (1e-9, 1e-8, 1e-7, 1e-6)  # of the limits, that are then kept free until a solution meets them
_OPTIMAL, _INFEASIBLE = 0, 2  # scipy's status


@dataclass(frozen=True, eq=False)
class Relaxed:
    """The linear relaxation: its value and its duals.

    prices: [rows] how much the value falls per unit of the row's limit, 0 or more.
    links: [links] duals of the knapsack's links.
    """

    value: float
    prices: Floats
    links: Floats


@dataclass(frozen=True, eq=False)
class Branched:
    """A solution of branch and bound; no solution is below ``bound``.

    Without a solution value is infinite: bound is then infinite too if there is none, and finite if
    the time was over.
    """

    chosen: Columns | None
    value: float
    bound: float


def relax(problem: Knapsack, loss: Floats) -> Relaxed | None:
    """Any fraction of a candidate may be taken; None where even that meets no limits.

    Where HiGHS cannot tell, the value is NaN and the duals are 0, which bounds nothing but is true.
    """
    from scipy.optimize import linprog

    rows, limits, scale = _scaled_rows(problem)
    equal, sums = _equalities(problem)
    objective = np.concatenate([loss, np.zeros(problem.columns - problem.choices)])
    methods = ("highs-ipm", "highs-ds") if problem.columns > _INTERIOR_POINT else ("highs-ds", "highs-ipm")
    for method in methods:
        found = linprog(objective, rows, limits, equal, sums, bounds=(0, None), method=method)
        if found.status == _INFEASIBLE:
            return None
        if found.status == _OPTIMAL:
            prices = np.maximum(0.0, -found.ineqlin.marginals) * scale
            return Relaxed(float(found.fun), prices, found.eqlin.marginals[problem.blocks :])
    return Relaxed(np.nan, np.zeros(len(limits)), np.zeros(len(sums) - problem.blocks))


def branch(problem: Knapsack, loss: Floats, stop: float, seconds: float, nodes: int | None = None) -> Branched:
    """The best choice by branch and bound, until one is proven within ``stop`` of the best or time is over."""
    from scipy.optimize import Bounds, LinearConstraint

    deadline = time.monotonic() + seconds
    rows, limits, _ = _scaled_rows(problem)
    equal, sums = _equalities(problem)
    one_each = LinearConstraint(equal, sums, sums)
    objective = np.concatenate([loss, np.zeros(problem.columns - problem.choices)])
    bound, gap = -np.inf, 0.0
    if stop > 0:
        relaxed = relax(problem, loss)
        gap = 0.9 * stop / relaxed.value if relaxed is not None and relaxed.value > stop else 0.0
    options = {"mip_rel_gap": gap, "presolve": False} | ({} if nodes is None else {"node_limit": nodes})
    original = np.arange(len(limits))
    for margin in (*(0.0,) * (1 if stop > 0 else _CUTS), *_MARGINS):
        within = limits.copy()
        within[original] -= margin * abs(limits[original])
        found = _milp(
            objective,
            integrality=np.arange(problem.columns) < problem.choices,
            bounds=Bounds(0, 1),
            constraints=[LinearConstraint(rows, -np.inf, within), one_each],
            options=options | {"time_limit": max(deadline - time.monotonic(), 0.1)},
        )
        if margin == 0.0 and found.status == _INFEASIBLE:
            return Branched(None, np.inf, np.inf)
        if margin == 0.0 and found.mip_dual_bound is not None:
            bound = max(bound, float(found.mip_dual_bound))
        if found.x is None:
            break
        chosen = _most_taken(problem, found.x)
        activity = problem.activity(chosen)
        if problem.meets(activity):
            return Branched(chosen, float(loss[chosen].sum()), bound)
        rows = sparse.vstack([rows, _cover(problem, chosen, int(np.argmax(activity - problem.limits)))]).tocsr()
        limits = np.append(limits, -1.0)
    return Branched(None, np.inf, bound)


def _milp(objective: Floats, **arguments: Any) -> Any:
    """scipy's milp without the line that HiGHS 1.12 prints for solutions which it mends."""
    from scipy.optimize import milp

    with silenced("stdout"):
        return milp(objective, **arguments)


def _cover(problem: Knapsack, chosen: Columns, row: int) -> sparse.csr_matrix:
    """Cuts off a choice that is within HiGHS's tolerance but above the limit of ``row``.

    So is every choice that costs as much or more in each decision: not all may be taken. The returned
    coefficients sum to -1 or less for all others.
    """
    cost = problem.rows[row].toarray().ravel()
    own = problem.block[: problem.choices]
    same = np.zeros(problem.choices, dtype=bool)
    same[chosen] = True
    if not np.any(cost[problem.choices :]):
        same |= cost[: problem.choices] >= cost[chosen][own]
    coefficients = np.zeros(problem.columns)
    coefficients[: problem.choices] = np.where(same, 0.0, -1.0)
    return sparse.csr_matrix(coefficients)


def smallest(problem: Knapsack, of: NDArray[np.bool_]) -> Columns | None:
    """[decisions]: columns that make the largest of the rows ``of`` as small as it can be.

    Largest above their limits, that is; all other rows stay within theirs. None where they cannot.
    """
    old = np.arange(problem.columns)
    found = _smallest(problem, of)
    while found is not None and np.any(of):
        # candidates that cost more than what was found are out; HiGHS tells the others apart better
        excess = float((problem.activity(found) - problem.limits)[of].max())
        rounding = 1e-12 * (abs(excess) + np.abs(problem.limits))
        restricted = problem.affordable(np.where(of, problem.limits + excess + rounding, problem.limits))
        if restricted is None or restricted[0].columns == problem.columns:
            break
        better = _smallest(restricted[0], of)
        if better is None or (restricted[0].activity(better) - problem.limits)[of].max() >= excess:
            break
        problem, old, found = restricted[0], old[restricted[1]], better
    return None if found is None else old[found]


def _smallest(problem: Knapsack, of: NDArray[np.bool_]) -> Columns | None:
    from scipy.optimize import Bounds, LinearConstraint

    part, limits = problem.rows[np.flatnonzero(of)], problem.limits[of]
    if not part.shape[0]:
        return problem.lowest_loss()
    largest = max(float(abs(part).max()), _NEGLIGIBLE * float(np.abs(limits).max()))
    top = largest if largest > _TINY else 1.0
    one_more = sparse.csr_matrix(-np.ones((part.shape[0], 1)))
    rows = sparse.hstack([part * (_PEAK_SCALE / top), one_more]).tocsr()
    constraints = [LinearConstraint(rows, -np.inf, limits * (_PEAK_SCALE / top))]
    if not np.all(of):
        others, most, _ = _scaled_rows(
            replace(problem, rows=problem.rows[np.flatnonzero(~of)], limits=problem.limits[~of])
        )
        constraints.append(LinearConstraint(_widened(others), -np.inf, most))
    equal, sums = _equalities(problem)
    found = _milp(
        np.append(np.zeros(problem.columns), 1.0),
        integrality=np.append(np.arange(problem.columns) < problem.choices, False),
        bounds=Bounds(np.append(np.zeros(problem.columns), -np.inf), np.append(np.ones(problem.columns), np.inf)),
        constraints=[*constraints, LinearConstraint(_widened(equal), sums, sums)],
        options={"mip_rel_gap": 0.0, "time_limit": 60.0, "presolve": False},
    )
    return None if found.x is None else _most_taken(problem, found.x)


def _widened(matrix: sparse.csr_matrix) -> sparse.csr_matrix:
    return sparse.hstack([matrix, sparse.csr_matrix((matrix.shape[0], 1))]).tocsr()


def _scaled_rows(problem: Knapsack) -> tuple[sparse.csr_matrix, Floats, Floats]:
    largest = np.asarray(abs(problem.rows).max(axis=1).todense()).ravel()
    relevant = np.maximum(largest, _NEGLIGIBLE * np.abs(problem.limits))
    scale = _ROW_SCALE / np.where(relevant > _TINY, relevant, 1.0)
    return (sparse.diags(scale) @ problem.rows).tocsr(), scale * problem.limits, scale


def _equalities(problem: Knapsack) -> tuple[sparse.csr_matrix, Floats]:
    """One column of every block, then the links."""
    where = (problem.block, np.arange(problem.columns))
    one = sparse.csr_matrix((np.ones(problem.columns), where), shape=(problem.blocks, problem.columns))
    if not len(problem.ends):
        return one, np.ones(problem.blocks)
    sums = np.concatenate([np.ones(problem.blocks), np.zeros(problem.links.shape[0])])
    return sparse.vstack([one, problem.links]).tocsr(), sums


def _most_taken(problem: Knapsack, x: NDArray[np.float64]) -> Columns:
    first = problem.starts[: problem.decisions]
    return np.asarray(first + np.array([np.argmax(part) for part in np.split(x[: problem.choices], first[1:])]))

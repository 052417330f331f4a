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
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.errors import NonFiniteValues
from mpq_plugins.grid import Grid
from mpq_plugins.hardware.op_support import Candidate
from mpq_plugins.inventory import Site
from mpq_plugins.papers.msqe_training import MsqeTraining
from mpq_plugins.plugins.hookspecs import hookimpl
from mpq_plugins.rounding.choice import Kind, choose_each
from mpq_plugins.rounding.factor import Factor
from mpq_plugins.rounding.factored import Factored
from mpq_plugins.rounding.moments.layer_moments import DAMPING, Array, by_group, damped
from mpq_plugins.rounding.rating import Rating, rate_each
from mpq_plugins.rounding.row_parts import row_parts
from mpq_plugins.rounding.thin import Thin
from mpq_plugins.search.method import RatingMethod
from mpq_plugins.search.workers import each_side_by_side
from mpq_plugins.search_input import KeepsColumns, Problem
from mpq_plugins.sensitivity.ratings import Rated
from mpq_plugins.thresholds.free_steps import refined, short, squared_error
from mpq_plugins.thresholds.histogram import Histogram
from mpq_plugins.thresholds.search import error_table, search_thresholds
from mpq_plugins.thresholds.shared_grids import search_shared
from mpq_plugins.thresholds.weighted_points import Points

_WIDE = 2**25
"""Products of a layer's loss above which no code is searched for the rating: some milliseconds' worth."""
NEIGHBOURS = (-1, 0, 1)
"""Thresholds tried beside the one of least squared error, as differences of exponents."""
UNSEEN = 1e-30
"""Loss of a site that no gradient of the calibration data reaches, in nats for an error as large as its signal: too
little to take bits from another site, enough to take those that no other site needs."""
FREE_NEIGHBOURS = (-0.25, -0.125, 0.0, 0.125, 0.25)
"""The same where steps are free."""


@dataclass(frozen=True)
class Msqe(RatingMethod):
    """The post-training method; a value without state."""

    name: str = "msqe"
    summary: str = "thresholds of least squared error, bits by predicted loss"
    paper: str = "arXiv:2210.03671"
    training: MsqeTraining = field(default_factory=MsqeTraining)
    """The same paper's method while training (mpq_plugins.training)."""
    rates_side_by_side: ClassVar[bool] = True

    def rate_group(self, problem: Problem, group: Sequence[Site]) -> dict[str, dict[int, Rated]]:
        """The grid and the predicted loss of every candidate of the sites that share one grid."""
        return _rate_weight(problem, group[0]) if group[0].kind == "weight" else _rate_shared(problem, group)

    def effort(self, problem: Problem, group: Sequence[Site]) -> float:
        """Elements of the weight, for each candidate: what rating takes grows with them; an activation takes little."""
        return sum(site.elements * len(problem.candidates[site.name]) for site in group if site.kind == "weight") + 1e3


def _rate_weight(problem: Problem, site: Site) -> dict[str, dict[int, Rated]]:
    """Grid and predicted loss of every candidate of a weight."""
    weight = problem.model.weight(site.name)
    factor = _factor(problem, site)
    fisher = problem.model.output_fisher(site.name)
    known = fisher if np.any(fisher) else None  # a layer without a gradient weighs its rows alike
    candidates = problem.candidates[site.name]
    plain = _least_squares(weight, candidates)
    kinds = [Kind(c.bits, _weight_steps(weight, c, plain[c]), c.per_channel, c.narrow) for c in candidates]
    rate = _rated_by_feedback if weight.size * weight.shape[1] > _WIDE else _searched_in_full
    signal = None if known is not None else _signal(weight, factor)
    rated: dict[int, Rated] = {}
    for candidate, found in zip(candidates, rate(weight, factor, kinds, known), strict=True):
        grid = replace(found.grid, axis=site.channel_axis if candidate.per_channel else None)
        loss = found.loss if signal is None else UNSEEN * _share(found.error, signal)
        rated[candidate.bits] = grid, _finite(loss, site)
    return {site.name: rated}


def _signal(weight: NDArray[Any], factor: Factor) -> float:
    """The error of a weight that is rounded to zero."""
    rows = by_group(weight, factor.shape[0])
    return math.fsum(float(factor.errors_of_rows(rows[:, p].astype(np.float64)).sum()) for p in row_parts(rows.shape))


def _rated_by_feedback(
    weight: NDArray[Any], factor: Factor, kinds: Sequence[Kind], fisher: Array | None
) -> list[Rating]:
    return rate_each(weight, factor, kinds, fisher, each=each_side_by_side)


def _searched_in_full(
    weight: NDArray[Any], factor: Factor, kinds: Sequence[Kind], fisher: Array | None
) -> list[Rating]:
    """As compensation.rating.rate_each, from codes that are searched in full for every kind."""
    importance = None if fisher is None else fisher.diagonal()
    ratings = []
    for grid, rounded in choose_each(weight, factor, kinds, importance):
        change = by_group(rounded - weight, factor.shape[0])
        error = float(factor.errors_of_rows(change).sum()) if fisher is None else np.nan
        loss = np.inf if fisher is None else factor.predicted_loss(change, fisher)
        ratings.append(Rating(grid, error, loss))
    return ratings


def _factor(problem: Problem, site: Site) -> Factor:
    """Of the damped covariance of what the weight multiplies."""
    few = problem.model.few_columns(site.name) if isinstance(problem.model, KeepsColumns) else None
    if few is not None:
        return Thin.of(few.damped(DAMPING))
    return Factored.of(damped(problem.model.covariance(site.name), DAMPING))


def _least_squares(weight: NDArray[Any], candidates: Sequence[Candidate]) -> dict[Candidate, Grid]:
    """For each candidate its power-of-two grid of least squared error, from one table for those that differ in bits."""
    found: dict[Candidate, Grid] = {}
    for kind in dict.fromkeys((c.per_channel, c.narrow) for c in candidates):
        own = [c for c in candidates if (c.per_channel, c.narrow) == kind]
        bits = list(dict.fromkeys(c.bits for c in own))
        grids = search_thresholds(weight, bits, axis=0 if kind[0] else None, narrow=kind[1])
        found |= {c: grids[c.bits] for c in own}
    return found


def _weight_steps(weight: NDArray[Any], candidate: Candidate, plain: Grid) -> list[Array]:
    """The steps to try for a weight, each [1] or [out]: that of least squared error and its neighbours.

    plain: the power-of-two grid of least squared error.
    """
    if candidate.power_of_two:
        return [np.ldexp(plain.steps, offset) for offset in NEIGHBOURS]
    free = refined(Points.of(weight, 0 if candidate.per_channel else None), plain)
    return [short(np.asarray(free.steps) * 2.0**offset) for offset in FREE_NEIGHBOURS]


def _rate_shared(problem: Problem, group: Sequence[Site]) -> dict[str, dict[int, Rated]]:
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


@hookimpl
def mpq_register_methods(register: Callable[[Any], None]) -> None:
    """Register msqe."""
    register(Msqe())

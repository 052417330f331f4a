"""sqnr: the cheap baseline. Noise over signal of each tensor, without a look at the rest of the model."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mpq_plugins.allocation.by_bits import non_increasing
from mpq_plugins.inventory import Site
from mpq_plugins.rounding.moments.layer_moments import Array, by_group
from mpq_plugins.search_input import Problem
from mpq_plugins.sensitivity.rating import Rates, grid_of
from mpq_plugins.thresholds.histogram import Histogram
from mpq_plugins.thresholds.search import error_table

BITS = 8


@dataclass(frozen=True)
class Noise:
    """Energy of the quantization error over energy of the tensor: 1 / SQNR.

    at_output: a weight's is taken at its layer's output, by the covariance of its input; else at the weight.
    """

    at_output: bool = True
    name: str = "sqnr"

    def rate(self, problem: Problem, sites: Sequence[Site]) -> Rates:
        """See Sensitivity.rate."""
        rates: Rates = {}
        for site in sites:
            costs = {}
            for candidate in problem.candidates[site.name]:
                grid = grid_of(problem, site, candidate)
                if site.kind == "weight":
                    weight = np.asarray(problem.model.weight(site.name), np.float64)
                    noise, signal = (self._energy(problem, site, w) for w in (grid.project(weight) - weight, weight))
                else:
                    histogram = problem.model.histogram(site.name)
                    noise = error_table(histogram, [candidate.bits], grid.exponents, candidate.signed).error.item()
                    signal = _mean_square(histogram)
                costs[candidate.bits] = noise / signal if signal > 0 else 0.0
            rates[site.name] = non_increasing(costs)
        return rates

    def _energy(self, problem: Problem, site: Site, matrix: Array) -> float:
        if not self.at_output:
            return float(np.sum(matrix**2))
        covariance = problem.model.covariance(site.name)
        rows = by_group(matrix, len(covariance))
        return float(np.einsum("gri,gij,grj->", rows, covariance, rows))


def _mean_square(histogram: Histogram) -> float:
    """The mean of the squares: the error of a grid so coarse that everything is rounded to zero."""
    largest = max(-histogram.min, histogram.max)
    if not largest > 0:
        return 0.0
    return float(error_table(histogram, [BITS], [math.frexp(largest)[1] + BITS + 1], signed=True).error.item())

"""kl: every candidate of every site is tried in the model, and its outputs compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mpq_plugins.allocation.by_bits import non_increasing
from mpq_plugins.inventory import Site
from mpq_plugins.search_input import Problem
from mpq_plugins.sensitivity.rating import Direction, Rates, grid_of, output_distance, outputs_with
from mpq_plugins.terminal.progress import track


@dataclass(frozen=True)
class Divergence:
    """KL divergence of the model's outputs with one site on one grid, all others in float.

    The dearest measure: a forward pass for every site and candidate.
    """

    direction: Direction = "forward"
    temperature: float = 1.0
    name: str = "kl"

    def rate(self, problem: Problem, sites: Sequence[Site]) -> Rates:
        """See Sensitivity.rate."""
        reference = outputs_with(problem, {})
        rates: Rates = {}
        for site in track(list(sites), "trying every candidate", problem.progress):
            costs = {}
            for candidate in problem.candidates[site.name]:
                grid = grid_of(problem, site, candidate)
                outputs = outputs_with(problem, {site.name: grid.project})
                costs[candidate.bits] = output_distance(reference, outputs, self.direction, self.temperature)
            rates[site.name] = non_increasing(costs)
        return rates

"""What every sensitivity is, and what they share: distances between outputs, the grid of a candidate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

import numpy as np

from mpq_plugins.errors import MPQError, NonFiniteValues
from mpq_plugins.grid import Grid
from mpq_plugins.hardware.op_support import Candidate
from mpq_plugins.inventory import Site
from mpq_plugins.rounding.moments.layer_moments import Array
from mpq_plugins.search_input import Change, Problem
from mpq_plugins.sensitivity.formulas import kl_divergence, noise_to_signal
from mpq_plugins.thresholds.search import search_threshold

Rates = dict[str, dict[int, float]]
"""Site -> bits -> what the choice costs, 0 or more, in a unit of the sensitivity's own."""

Direction = Literal["forward", "backward"]
SMALLEST_PROBABILITY = 1e-12


class Sensitivity(Protocol):
    """A measure of what bits cost in accuracy. Rates of one measure are comparable between sites."""

    @property
    def name(self) -> str:
        """How it is called."""

    def rate(self, problem: Problem, sites: Sequence[Site]) -> Rates:
        """The cost of every candidate of these sites, each rated alone."""


def sites_with_a_choice(problem: Problem) -> tuple[Site, ...]:
    """The sites of several candidates."""
    return tuple(site for site in problem.model.inventory if len(problem.candidates[site.name]) > 1)


def outputs_with(problem: Problem, changes: Mapping[str, Change]) -> tuple[Array, ...]:
    """The model's outputs with some tensors changed (problem.RunnableModel); MPQError for one that only has numbers."""
    run = getattr(problem.model, "outputs", None)
    if run is None:
        raise MPQError(
            f"{type(problem.model).__name__} holds measurements and cannot run the model, which the sensitivities kl "
            "and mask need: search with the model itself, or use fisher or sqnr"
        )
    outputs: tuple[Array, ...] = run(changes)
    return outputs


def grid_of(problem: Problem, site: Site, candidate: Candidate) -> Grid:
    """The grid of least squared error of a candidate; a weight's is for its matrix, channels along axis 0."""
    if site.kind == "weight":
        axis = 0 if candidate.per_channel else None
        weight = problem.model.weight(site.name)
        return search_threshold(weight, candidate.bits, narrow=candidate.narrow, axis=axis)
    if candidate.exponent is not None:
        return candidate.grid(candidate.exponent)
    members = problem.model.inventory.groups()[site.group or site.name]
    histogram = problem.model.histogram(members[0].name)
    for other in members[1:]:
        histogram = histogram.merge(problem.model.histogram(other.name))
    return search_threshold(histogram, candidate.bits, candidate.signed)


def output_distance(
    reference: Sequence[Array], outputs: Sequence[Array], direction: Direction = "forward", temperature: float = 1.0
) -> float:
    """How far outputs moved: KL divergence of rows of class scores (or probabilities), else noise to signal.

    direction: "forward" is KL(reference || outputs), "backward" the other way round. Several outputs are averaged.

    >>> p, q = np.array([[0.7, 0.2, 0.1]]), np.array([[0.6, 0.3, 0.1]])
    >>> round(output_distance([p], [q]), 8), round(output_distance([p], [q], "backward"), 8)
    (0.02681245, 0.02914912)
    """
    distances = []
    for before, after in zip(reference, outputs, strict=True):
        if not (np.all(np.isfinite(before)) and np.all(np.isfinite(after))):
            raise NonFiniteValues("the model's outputs hold NaN or infinity; a sensitivity needs finite ones")
        if before.ndim != 2 or before.shape[1] < 2:
            distances.append(noise_to_signal(before, after))
            continue
        if _probabilities(before):
            before, after = (np.log(np.maximum(z, SMALLEST_PROBABILITY)) for z in (before, after))
        one, two = (before, after) if direction == "forward" else (after, before)
        distances.append(kl_divergence(one, two, temperature))
    return float(np.mean(distances))


def _probabilities(values: Array) -> bool:
    return bool(values.min(initial=0.0) >= 0 and np.allclose(values.sum(axis=1), 1.0, atol=1e-4))

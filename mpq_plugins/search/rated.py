"""What the choices of a graph cost in accuracy, by several sensitivities on the same measurements."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from mpq_plugins import registry
from mpq_plugins.graph.node import Graph
from mpq_plugins.graph.runner import Runner
from mpq_plugins.graph.sites import take_sites
from mpq_plugins.hardware.target import Target
from mpq_plugins.search.chunk import Chunk
from mpq_plugins.search.measurement import Measurements
from mpq_plugins.search_input import Bits, Problem, candidates_for
from mpq_plugins.sensitivity.rating import Rates, Sensitivity
from mpq_plugins.sensitivity.table import rate_all


def rate_graph(
    graph: Graph,
    runner: Runner,
    chunks: Sequence[Chunk],
    target: Target,
    kinds: Iterable[str | Sensitivity] | None = None,
    weight_bits: Bits = None,
    activation_bits: Bits = None,
    per_channel: bool | None = None,
    progress: bool | None = None,
) -> dict[str, Rates]:
    """By measure, what each candidate of each site with a choice costs; kinds: None for all that are registered."""
    measured = Measurements(graph, take_sites(graph), runner, chunks, progress)
    measured.check_gradients()
    candidates = candidates_for(measured.inventory, target, weight_bits, activation_bits, per_channel)
    models = registry.host().cost_models()
    return rate_all(Problem(measured, target, candidates, None, models, progress=progress), kinds)

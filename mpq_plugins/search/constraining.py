"""A float graph with its weights and biases on a recipe's grids: what every adapter's ``constrain`` begins with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from mpq_plugins.graph.limits import check_limits
from mpq_plugins.graph.node import Graph
from mpq_plugins.graph.quantized import QuantizedGraph
from mpq_plugins.graph.runner import Runner
from mpq_plugins.graph.sites import GraphSites
from mpq_plugins.hardware.known_targets import target_of
from mpq_plugins.recipe.recipe import Recipe
from mpq_plugins.rounding.moments.holding import memory_limit
from mpq_plugins.search.chunk import Chunk
from mpq_plugins.search.estimate import AtOnce, samples_to_round
from mpq_plugins.search.sweep import compensate


def constrained(
    graph: Graph,
    sites: GraphSites,
    recipe: Recipe,
    runner: Runner,
    chunks_of: Callable[[AtOnce, int], Sequence[Chunk]] | None,
    nearest: bool,
    progress: bool | None,
    memory_gb: float | None,
    positions: int,
) -> Graph:
    """The graph with its weights and biases on the recipe's grids.

    chunks_of: cuts the calibration set into chunks of so many samples, within bytes of memory; None puts all on the
    nearest value. The others: as of ``compensate`` and of a search. Raises as QuantizedGraph.of, check_limits
    and compensate do.
    """
    target, grid_of = target_of(recipe), sites.grid_of
    nearest_values = QuantizedGraph.of(graph, sites, recipe, target)
    check_limits(nearest_values)
    if chunks_of is None:
        return nearest_values.graph
    del nearest_values  # a copy of all weights, of which none is kept
    memory = memory_limit(memory_gb)
    chunks = chunks_of(partial(samples_to_round, columns=positions), memory)
    return compensate(graph, grid_of, recipe, target, runner, chunks, progress, nearest, memory, positions)

"""A model together with a recipe that fits it, however an adapter reads the model."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Protocol, TypeVar

from mpq_plugins.errors import RecipeMismatch, UnmatchedName, UnsupportedOp
from mpq_plugins.graph.float_parts import OneNode
from mpq_plugins.graph.limits import check_sums
from mpq_plugins.graph.node import Graph
from mpq_plugins.graph.quantized import QuantizedGraph
from mpq_plugins.graph.sites import GraphSites, take_sites
from mpq_plugins.hardware.known_targets import target_of
from mpq_plugins.hardware.target import Target
from mpq_plugins.recipe.recipe import Recipe


class HasGraph(Protocol):
    """A model that was read."""

    @property
    def graph(self) -> Graph: ...


Reading = TypeVar("Reading", bound=HasGraph)


def fitting(recipe: Recipe, read: Callable[[Iterable[str], Target], Reading]) -> tuple[Reading, GraphSites]:
    """What was read of a model and its sites, after a check that the recipe has just these.

    read: reads the model with what is to stay float, for a target. Raises RecipeMismatch, with names, and what it does.
    """
    target = target_of(recipe)
    try:
        try:
            reading = read([*map(OneNode, recipe.float_ops)], target)
        except UnmatchedName as error:
            # a model of another kind has other sites too, which say more, or ops that the target lacks
            recipe.check_fits(take_sites(read((), target).graph).inventory)
            raise RecipeMismatch(f"the recipe does not fit the model: {error}") from error
    except UnsupportedOp as error:
        raise RecipeMismatch(f"the recipe does not fit the model: {error}") from error
    signs = {entry.site: entry.grid.signed for entry in recipe.activations}
    sites = take_sites(reading.graph, signs)
    recipe.check_fits(sites.inventory)
    return reading, sites


def on_grids(recipe: Recipe, fitted: tuple[Reading, GraphSites]) -> tuple[Reading, QuantizedGraph]:
    """The graph on the recipe's grids, weights and biases at the nearest value that they may take.

    fitted: what ``fitting`` returned. Raises GridError, naming the site, for sums past the accumulators of the target.
    """
    reading, sites = fitted
    quantized = QuantizedGraph.of(reading.graph, sites, recipe, target_of(recipe))
    check_sums(quantized)
    return reading, quantized

"""A model together with a recipe that fits it."""

from __future__ import annotations

from typing import Any

from mpq_plugins import plugins
from mpq_plugins.errors import RecipeMismatch, UnmatchedName, UnsupportedOp
from mpq_plugins.graph.float_parts import OneNode
from mpq_plugins.graph.limits import check_sums
from mpq_plugins.graph.quantized import QuantizedGraph
from mpq_plugins.graph.sites import GraphSites, take_sites
from mpq_plugins.recipe.recipe import Recipe
from mpq_tfmot.reader.reading import Reading, read_model


def read_fitting(model: Any, recipe: Recipe) -> tuple[Reading, GraphSites]:
    """The model as a graph and its sites, after a check that the recipe has just these.

    Raises RecipeMismatch, with names, and as read_model does.
    """
    target = plugins.target_of(recipe)
    try:
        try:
            reading = read_model(model, [*map(OneNode, recipe.float_ops)], target=target)
        except UnmatchedName as error:
            # a model of another kind has other sites too, which say more, or ops that the target lacks
            recipe.check_fits(take_sites(read_model(model, target=target).graph).inventory)
            raise RecipeMismatch(f"the recipe does not fit the model: {error}") from error
    except UnsupportedOp as error:
        raise RecipeMismatch(f"the recipe does not fit the model: {error}") from error
    signs = {entry.site: entry.grid.signed for entry in recipe.activations}
    sites = take_sites(reading.graph, signs)
    recipe.check_fits(sites.inventory)
    return reading, sites


def read_quantized(model: Any, recipe: Recipe) -> tuple[Reading, QuantizedGraph]:
    """The model as a graph on the recipe's grids, weights and biases at the nearest value that they may take.

    Raises GridError, naming the site, for sums past the accumulators of the target.
    """
    reading, sites = read_fitting(model, recipe)
    quantized = QuantizedGraph.of(reading.graph, sites, recipe, plugins.target_of(recipe))
    check_sums(quantized)
    return reading, quantized

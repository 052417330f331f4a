"""A model together with a recipe that fits it."""

from __future__ import annotations

from typing import Any

from mpq_plugins.graph.quantized import QuantizedGraph
from mpq_plugins.graph.sites import GraphSites
from mpq_plugins.recipe.fitting import fitting, on_grids
from mpq_plugins.recipe.recipe import Recipe
from mpq_tfmot.reader.reading import Reading, read_model


def read_fitting(model: Any, recipe: Recipe) -> tuple[Reading, GraphSites]:
    """The model as a graph and its sites. Raises RecipeMismatch, with names, and as read_model does."""
    return fitting(recipe, lambda keep_float, target: read_model(model, keep_float, target=target))


def read_quantized(model: Any, recipe: Recipe) -> tuple[Reading, QuantizedGraph]:
    """The model as a graph on the recipe's grids; raises as ``read_fitting`` and the core's ``on_grids`` do."""
    return on_grids(recipe, read_fitting(model, recipe))

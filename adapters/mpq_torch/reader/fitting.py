"""A model together with a recipe that fits it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from mpq_plugins import plugins
from mpq_plugins.errors import ModelError, RecipeMismatch, UnmatchedName, UnsupportedOp
from mpq_plugins.graph.float_parts import OneNode
from mpq_plugins.graph.limits import check_sums
from mpq_plugins.graph.quantized import QuantizedGraph
from mpq_plugins.graph.sites import GraphSites, take_sites
from mpq_plugins.inventory import ModelInput
from mpq_plugins.recipe.recipe import Recipe
from mpq_torch.reader.reading import Reading, read_model
from mpq_torch.reader.tracing import WEIGHTED


def read_fitting(model: nn.Module, recipe: Recipe, example: Sequence[Any] | None = None) -> tuple[Reading, GraphSites]:
    """The model as a graph and its sites, after a check that the recipe has just these.

    example: the model's arguments; None takes what the recipe says of its inputs.
    Raises RecipeMismatch, with names, and as read_model does.
    """
    target = plugins.target_of(recipe)
    inputs = inputs_of(recipe)
    try:
        try:
            reading = read_model(model, example, [*map(OneNode, recipe.float_ops)], inputs, target)
        except UnmatchedName as error:
            # a model of another kind has other sites too, which say more, or ops that the target lacks
            recipe.check_fits(take_sites(read_model(model, example, (), inputs, target).graph).inventory)
            raise RecipeMismatch(f"the recipe does not fit the model: {error}") from error
    except UnsupportedOp as error:
        raise RecipeMismatch(f"the recipe does not fit the model: {error}") from error
    except ModelError as error:
        if example is None:
            _check_layers(model, recipe, error)
        raise
    signs = {entry.site: entry.grid.signed for entry in recipe.activations}
    sites = take_sites(reading.graph, signs)
    recipe.check_fits(sites.inventory)
    return reading, sites


def inputs_of(recipe: Recipe) -> tuple[ModelInput, ...]:
    """The tensors that the model takes, by a recipe; by one that does not say, those of its sites."""
    sites = (entry for entry in recipe.activations if entry.op == "input")
    return recipe.inputs or tuple(ModelInput(entry.site, (None, *entry.shape)) for entry in sites)


def read_quantized(
    model: nn.Module, recipe: Recipe, example: Sequence[Any] | None = None
) -> tuple[Reading, QuantizedGraph]:
    """The model as a graph on the recipe's grids, weights and biases at the nearest value that they may take.

    Raises GridError, naming the site, for sums past the accumulators of the target.
    """
    reading, sites = read_fitting(model, recipe, example)
    quantized = QuantizedGraph.of(reading.graph, sites, recipe, plugins.target_of(recipe))
    check_sums(quantized)
    return reading, quantized


def _check_layers(model: nn.Module, recipe: Recipe, error: ModelError) -> None:
    """Raise RecipeMismatch where a model that inputs of the recipe's shapes do not go through has other layers."""
    modules = model.named_modules() if isinstance(model, nn.Module) else ()
    own = [f"{path}.weight" for path, module in modules if isinstance(module, WEIGHTED)]
    recipes = [entry.site for entry in recipe.weights]
    missing = [site for site in own if site not in recipes]
    lost = [site for site in recipes if site not in own]
    if missing and lost:
        raise RecipeMismatch(
            f"the recipe does not fit the model: {error}; layers without a grid in the recipe: {', '.join(missing)}; "
            f"layers of the recipe that the model does not have: {', '.join(lost)}"
        ) from error

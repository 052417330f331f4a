"""A model together with a recipe that fits it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from mpq_plugins.errors import ModelError, RecipeMismatch
from mpq_plugins.graph.quantized import QuantizedGraph
from mpq_plugins.graph.sites import GraphSites
from mpq_plugins.inventory import ModelInput
from mpq_plugins.recipe.fitting import fitting, on_grids
from mpq_plugins.recipe.recipe import Recipe
from mpq_torch.reader.reading import Reading, read_model
from mpq_torch.reader.tracing import WEIGHTED


def read_fitting(model: nn.Module, recipe: Recipe, example: Sequence[Any] | None = None) -> tuple[Reading, GraphSites]:
    """The model as a graph and its sites.

    example: the model's arguments; None takes what the recipe says of its inputs.
    Raises RecipeMismatch, with names, and as read_model does.
    """
    inputs = inputs_of(recipe)
    try:
        return fitting(recipe, lambda keep_float, target: read_model(model, example, keep_float, inputs, target))
    except ModelError as error:
        if example is None:
            _check_layers(model, recipe, error)
        raise


def inputs_of(recipe: Recipe) -> tuple[ModelInput, ...]:
    """The tensors that the model takes, by a recipe; by one that does not say, those of its sites."""
    sites = (entry for entry in recipe.activations if entry.op == "input")
    return recipe.inputs or tuple(ModelInput(entry.site, (None, *entry.shape)) for entry in sites)


def read_quantized(
    model: nn.Module, recipe: Recipe, example: Sequence[Any] | None = None
) -> tuple[Reading, QuantizedGraph]:
    """The model as a graph on the recipe's grids; raises as ``read_fitting`` and the core's ``on_grids`` do."""
    return on_grids(recipe, read_fitting(model, recipe, example))


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

"""The text of a recipe's file, of this schema or the one before, as what a Recipe is made of."""

from __future__ import annotations

from typing import Any

from mpq_plugins.errors import GridError, RecipeError
from mpq_plugins.grid import Grid
from mpq_plugins.recipe.first_schema import FirstRecipe
from mpq_plugins.recipe.recipe_json import HEADING, RecipeFields, SiteFields, WrittenRecipe
from mpq_plugins.recipe.site_grid import SiteGrid


def loads(text: str | bytes, origin: str) -> tuple[tuple[SiteGrid, ...], dict[str, Any]]:
    """What ``dumps`` was given. Raises RecipeError, naming ``origin`` and the field, for anything else."""
    written: WrittenRecipe = HEADING.model(RecipeFields, text, origin, {1: FirstRecipe})
    try:
        return tuple(_site_grid(name, site) for name, site in written.sites.items()), written.values()
    except RecipeError as error:
        raise HEADING.damaged(error, origin) from None


def _site_grid(name: str, site: SiteFields) -> SiteGrid:
    given = site.grid
    where = f"sites.{name}.grid"
    if (given.exponents is None) == (given.steps is None):
        raise RecipeError(f"{where}: give exponents or steps, one of the two")
    try:
        if given.exponents is not None:
            grid = Grid.power_of_two(given.bits, given.exponents, given.signed, given.narrow, given.axis)
        else:
            grid = Grid(given.bits, given.steps or (), given.signed, given.narrow, given.axis)
    except GridError as error:
        raise RecipeError(f"{where}: {error}") from None
    return SiteGrid(name, site.kind, site.op, site.shape, grid, site.group, site.reason)

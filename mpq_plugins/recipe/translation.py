"""One recipe, two frameworks: a recipe with the names, shapes and axes of another inventory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from mpq_plugins.errors import RecipeMismatch
from mpq_plugins.inventory import Inventory
from mpq_plugins.recipe.recipe import Recipe

WEIGHT = ".weight"


def translate(recipe: Recipe, inventory: Inventory, names: Mapping[str, str] | None = None) -> Recipe:
    """The recipe for the twin of its model: the same grids under the twin's names, per-channel axes moved.

    inventory: of the twin. names: site or layer of the recipe -> of the twin; a layer stands for its
    activation and its weight; what is not listed keeps its name.
    Raises RecipeMismatch where sites are missing or left over, or have another number of elements.

    >>> from mpq_plugins.grid import Grid
    >>> from mpq_plugins.inventory import Site
    >>> ours, theirs = ((2, 4), 0), ((4, 2), 1)
    >>> torch, keras = (
    ...     Inventory([Site(x, "activation", "input", (4,)), Site(w, "weight", "linear", shape, channel_axis=axis)])
    ...     for x, w, (shape, axis) in (("x", "fc.weight", ours), ("image", "dense.weight", theirs))
    ... )
    >>> grids = {"x": Grid.power_of_two(8, 0), "fc.weight": Grid.power_of_two(4, [0, 1], axis=0)}
    >>> recipe = Recipe.from_inventory(torch, grids, "generic-po2-per-channel", "by hand")
    >>> translate(recipe, keras, {"x": "image", "fc": "dense"})["dense.weight"].axis
    1
    """
    renamed = {_renamed(name, names or {}): name for name in recipe}
    grids, reasons = {}, {}
    for new, old in renamed.items():
        entry, grid = recipe.site(old), recipe[old]
        if new in inventory:
            site = inventory[new]
            if (site.kind, site.elements) != (entry.kind, entry.elements):
                raise RecipeMismatch(
                    f"{old} ({entry.kind} of {entry.elements} elements) cannot be {new} "
                    f"({site.kind} of {site.elements} elements)"
                )
            if grid.axis is not None:
                grid = replace(grid, axis=site.channel_axis)
        grids[new], reasons[new] = grid, entry.reason
    return Recipe.from_inventory(
        inventory,
        grids,
        recipe.hardware or recipe.target,
        recipe.method,
        reasons,
        budget=recipe.budget,
        costs=recipe.costs,
        shadow_prices=recipe.shadow_prices,
        predicted=recipe.predicted,
        meta=recipe.meta,
    )


def _renamed(name: str, names: Mapping[str, str]) -> str:
    if name in names:
        return names[name]
    layer = name.removesuffix(WEIGHT)
    return f"{names[layer]}{WEIGHT}" if layer != name and layer in names else name

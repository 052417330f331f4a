"""Weight grids coarse enough for their biases: an int32 accumulator has to hold them.

Folding a batch norm leaves some channels with next to no weight beside an ordinary bias. The step of
least error for such a channel is so fine that its bias, in steps of the accumulator, passes int32.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from mpq_plugins.grid import Grid
from mpq_plugins.inventory import Inventory
from mpq_plugins.recipe.recipe import Recipe
from mpq_plugins.rounding.moments.layer_moments import Array

LARGEST_BIAS = 2.0**28
"""In steps of the accumulator; an eighth of int32, since bias correction moves biases and products come on top."""


def with_headroom(recipe: Recipe, inventory: Inventory, biases: Mapping[str, Array]) -> Recipe:
    """The recipe with the threshold of a weight, or of single channels, raised where the bias needs it.

    biases: by weight site, [output channels]. A raised step is a power of two; bits and costs stay.

    >>> from mpq_plugins.inventory import Site
    >>> sites = [Site("x", "activation", "input", (1,)), Site("w", "weight", "linear", (1, 1), 1, 0, inputs=("x",))]
    >>> grids = {"x": Grid.power_of_two(8, 0), "w": Grid.power_of_two(4, -30)}
    >>> inventory = Inventory(sites)
    >>> recipe = Recipe.from_inventory(inventory, grids, "generic-po2", "msqe")
    >>> with_headroom(recipe, inventory, {"w": np.array([1.0])})["w"].exponent
    -18
    """
    grids = {}
    for site in inventory.weights:
        grid = recipe[site.name]
        if site.inputs and site.name in biases:
            step = min(recipe[name].steps[0] for name in site.inputs)
            grids[site.name] = _raised(grid, np.abs(biases[site.name]) / (LARGEST_BIAS * step))
    entries = [replace(entry, grid=grids.get(entry.site, entry.grid)) for entry in recipe.sites]
    return replace(recipe, sites=tuple(entries))


def _raised(grid: Grid, smallest: Array) -> Grid:
    """The grid with power-of-two steps of at least ``smallest`` [channels]."""
    needed = smallest if grid.axis is not None else [smallest.max(initial=0.0)]
    steps = tuple(
        step if step >= low else math.ldexp(1.0, math.ceil(math.log2(low)))
        for step, low in zip(grid.steps, needed, strict=True)
    )
    return replace(grid, steps=steps)

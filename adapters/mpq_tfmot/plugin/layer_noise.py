"""The values of every activation site in the float model and in its simulation, side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from mpq_plugins.recipe.recipe import Recipe
from mpq_plugins.search import site_values as core
from mpq_tfmot.calibration.batches import Batch, as_chunks
from mpq_tfmot.convert import simulate
from mpq_tfmot.reader.fitting import read_fitting


def site_values(
    model: Any, on_grid: Any, recipe: Recipe, batches: Sequence[Batch]
) -> Iterator[tuple[str, core.Values, core.Values]]:
    """(site, values in the float model, values in the simulation) of every activation, chunk after chunk.

    model: the float model. on_grid: what constrain made of it for the recipe.
    """
    reading, _ = read_fitting(model, recipe)
    return core.site_values(reading.graph, simulate(on_grid, recipe), as_chunks(list(batches), reading))

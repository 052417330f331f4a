"""The values of every activation site in the float model and in its simulation, side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from torch import nn

from mpq_plugins.graph.simulation import Simulation
from mpq_plugins.recipe.recipe import Recipe
from mpq_plugins.search import site_values as core
from mpq_torch.reader.data import chunks_of
from mpq_torch.reader.fitting import read_fitting, read_quantized


def site_values(
    model: nn.Module, on_grid: nn.Module, recipe: Recipe, batches: Sequence[tuple[Any, ...]]
) -> Iterator[tuple[str, core.Values, core.Values]]:
    """(site, values in the float model, values in the simulation) of every activation, chunk after chunk.

    model: the float model. on_grid: what fx.constrain made of it for the recipe.
    """
    reading, _ = read_fitting(model, recipe, batches[0])
    constrained, quantized = read_quantized(on_grid, recipe, batches[0])
    chunks = chunks_of(reading, batches)
    return core.site_values(reading.graph, Simulation(quantized, constrained.runner), chunks)

"""Equalization of a torch model: of its weights' channels, or of its activations' for the bits of a recipe."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import fx, nn

from mpq_plugins.recipe.recipe import Recipe
from mpq_plugins.search import equalized as core
from mpq_plugins.search.filled import filled
from mpq_plugins.terminal.progress import stage
from mpq_torch.calling.arguments import takes_of
from mpq_torch.calling.batches import as_batches
from mpq_torch.calling.surroundings import undisturbed
from mpq_torch.reader.data import chunks_of, read_with_data
from mpq_torch.reader.fitting import read_fitting
from mpq_torch.reader.writing import write_module


@undisturbed
def equalize(
    model: nn.Module,
    calibration: Iterable[Any] | torch.Tensor,
    recipe: Recipe | None = None,
    *,
    progress: bool | None = None,
) -> fx.GraphModule:
    """A model of the same function whose channels have evened-out ranges, batch norms folded; search it (again).

    calibration: as for ``search``. recipe: of the model; the channels of activations are then scaled so that they lose
    least at its activation bits, by any factors: for few of them. Without one, weights are, by powers of two: for
    targets with one step per weight tensor. Thresholds are of the model that they were found for.
    Raises RecipeMismatch, with names, where the recipe is of another model.
    """
    if recipe is None:
        reading, batches = read_with_data(model, calibration)
        return write_module(
            replace(reading, graph=core.equalized(reading.graph, reading.runner, chunks_of(reading, batches)))
        )
    batches = as_batches(calibration, takes_of(model))
    with stage("reading the model", progress):
        reading, sites = read_fitting(model, recipe, batches[0])
    graph = filled(reading.graph, sites, recipe, reading.runner, chunks_of(reading, batches), progress)
    return write_module(replace(reading, graph=graph))

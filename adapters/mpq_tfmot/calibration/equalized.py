"""Equalization of a Keras model: of its weights' channels, or of its activations' for the bits of a recipe."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mpq_plugins.recipe.recipe import Recipe
from mpq_plugins.search import equalized as core
from mpq_plugins.search.filled import filled
from mpq_tfmot.calibration.batches import as_chunks
from mpq_tfmot.reader.fitting import read_fitting
from mpq_tfmot.reader.reading import read_model
from mpq_tfmot.reader.writing import with_graph, write_model


def equalize(
    model: Any, calibration: Iterable[Any] | Any, recipe: Recipe | None = None, *, progress: bool | None = None
) -> Any:
    """A functional tf_keras model of the same function whose channels have evened-out ranges; search it (again).

    calibration: as for ``search``; it says which channels reach the bound of their ReLU6. Batch norms are folded.
    recipe: of the model; the channels of activations are then scaled so that they lose least at its activation bits,
    by any factors: for few of them. Without one, weights are, by powers of two: for targets with one step per weight
    tensor. Thresholds are of the model that they were found for.
    Raises RecipeMismatch, with names, where the recipe is of another model.
    """
    if recipe is None:
        reading = read_model(model)
        graph = core.equalized(reading.graph, reading.runner, as_chunks(calibration, reading))
    else:
        reading, sites = read_fitting(model, recipe)
        chunks = as_chunks(calibration, reading)
        graph = filled(reading.graph, sites, recipe, reading.runner, chunks, progress)
    return write_model(with_graph(reading, graph), "equalized")

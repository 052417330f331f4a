"""From a Keras model and its recipe to the model on its grids, and to its simulation."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

from mpq_plugins.recipe.recipe import Recipe
from mpq_plugins.rounding.moments.thinning import COLUMNS
from mpq_plugins.search.constraining import constrained
from mpq_plugins.terminal.progress import stage
from mpq_tfmot.calibration.batches import as_chunks
from mpq_tfmot.reader.fitting import read_fitting, read_quantized
from mpq_tfmot.reader.writing import with_graph, write_model
from mpq_tfmot.simulation.simulated_model import SimulatedModel


def constrain(
    model: Any,
    recipe: Recipe,
    calibration: Iterable[Any] | Any | None = None,
    *,
    example_inputs: Any = None,
    nearest: bool = False,
    progress: bool | None = None,
    memory_gb: float | None = None,
    positions: int = COLUMNS,
) -> Any:
    """The float model on its grids: a functional tf_keras model, batch norms folded, weights and biases on theirs.

    calibration: as for ``search``. With it, weights are rounded with compensation and biases
    corrected, layer by layer; without it, both go to the nearest value.
    example_inputs: not needed: a Keras model knows its shapes.
    nearest: round weights to nearest all the same, and let calibration correct the biases alone.
    progress, memory_gb: as of ``search``; what does not fit of the values between layers waits in temporary files.
    positions: of the output of each convolution, over all samples, that its weight is rounded by, about; more of them
    cost time, and are worth it where activations have few bits.
    The model itself is left untouched; weights that lie on their grids stay where they are. (Ranges of
    activations are not clamped here: quantize, simulate and the exports do it from the recipe.)
    Raises RecipeMismatch, with names, where the recipe is of another model.
    """
    with stage("reading the model", progress):
        reading, sites = read_fitting(model, recipe)
    chunks_of = None if calibration is None else partial(as_chunks, calibration, reading)
    graph = constrained(
        reading.graph, sites, recipe, reading.runner, chunks_of, nearest, progress, memory_gb, positions
    )
    return write_model(with_graph(reading, graph))


def simulate(model: Any, recipe: Recipe, *, example_inputs: Any = None) -> SimulatedModel:
    """A function that computes exactly what the recipe's target computes in integers.

    model: what ``constrain`` returned, or any model that the recipe fits, whose weights and biases
    are then rounded to nearest. example_inputs: as of ``constrain``. ``simulation(x)``, ``simulation.predict(x)`` and
    ``simulation.sites(x)`` give float tensors of grid values.
    """
    reading, quantized = read_quantized(model, recipe)
    return SimulatedModel(quantized, reading.runner)

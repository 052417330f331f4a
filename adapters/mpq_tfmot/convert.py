"""From a Keras model and its recipe to the model on its grids, and to its simulation."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

from mpq_plugins import plugins
from mpq_plugins.graph.limits import check_limits
from mpq_plugins.graph.placing import put_on_grids
from mpq_plugins.graph.quantized import QuantizedGraph
from mpq_plugins.recipe.recipe import Recipe
from mpq_plugins.rounding.moments.holding import memory_limit
from mpq_plugins.rounding.moments.thinning import COLUMNS
from mpq_plugins.search.estimate import samples_to_round
from mpq_plugins.search.sweep import compensate
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
    target = plugins.target_of(recipe)
    check_limits(QuantizedGraph(reading.graph, recipe, sites.grid_of, target))
    if calibration is None:
        graph = put_on_grids(reading.graph, sites.grid_of, recipe)
    else:
        memory = memory_limit(memory_gb)
        chunks = as_chunks(calibration, reading, partial(samples_to_round, columns=positions), memory)
        graph = compensate(
            reading.graph, sites.grid_of, recipe, target, reading.runner, chunks, progress, nearest, memory, positions
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

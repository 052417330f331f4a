"""What the ``verify`` of every runtime compares a converted Keras model with."""

from __future__ import annotations

from typing import Any

from mpq_plugins.errors import ModelError, MPQError
from mpq_plugins.graph.simulation import Simulation
from mpq_plugins.recipe.recipe import Recipe
from mpq_plugins.recipe.verification import NEEDS
from mpq_tfmot.calibration.batches import Batch, as_batches
from mpq_tfmot.keras import keras
from mpq_tfmot.reader.fitting import read_quantized
from mpq_tfmot.simulation.simulated_model import SimulatedModel
from mpq_tfmot.training.hardening import harden


def simulation_of(simulated: Any, recipe: Recipe | None, inputs: Any) -> tuple[Simulation, list[Batch]]:
    """What a ``verify`` compares with, and the batches of its inputs.

    simulated: what ``simulate`` returned; the model itself, or what ``constrain`` made of it, with its recipe; or a
    TF-MOT model of ours, which has its recipe. inputs: an array, a list of one for each of the model's inputs, or an
    iterable of batches. Raises ModelError for anything else.
    """
    if not isinstance(simulated, Simulation):
        if not isinstance(simulated, keras.Model):
            raise ModelError(NEEDS)
        recipe = recipe or _recipe_of(simulated)
        reading, quantized = read_quantized(simulated, recipe)
        simulated = SimulatedModel(quantized, reading.runner)
    return simulated, as_batches(inputs, simulated.graph.arguments)


def _recipe_of(model: Any) -> Recipe:
    try:
        return harden(model, freeze=False)
    except MPQError as error:
        raise ModelError(f"{NEEDS} ({error})") from error

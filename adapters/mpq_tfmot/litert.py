"""LiteRT for Keras models: ``export`` a recipe as a .tflite of integer ops, ``verify`` it."""

from __future__ import annotations

from os import PathLike
from typing import Any

from mpq_plugins.errors import ModelError
from mpq_plugins.exporters.litert import exporting
from mpq_plugins.exporters.litert.sizes import LitertSizes, sizes
from mpq_plugins.exporters.litert.verification import compare
from mpq_plugins.graph.simulation import Simulation
from mpq_plugins.recipe import Recipe
from mpq_plugins.verification import Verification
from mpq_tfmot.batches import as_arrays
from mpq_tfmot.keras import keras
from mpq_tfmot.reader.fitting import read_quantized

__all__ = ["LitertSizes", "Verification", "export", "sizes", "verify"]


def export(
    model: Any,
    recipe: Recipe,
    example_inputs: Any = None,
    path: str | PathLike[str] | None = None,
    *,
    pack: bool = True,
    keep_layout: bool = False,
) -> bytes:
    """The model of a recipe as a LiteRT flatbuffer (.tflite) of integer ops; returns its bytes.

    model: what ``constrain`` returned, or any model that the recipe fits, whose weights and biases are then rounded to
        nearest. Inputs and outputs are float32, named as the model's inputs and outputs.
    path: where to write the file; None writes none.
    pack: store weights of 4 bits and fewer two to a byte, where the runtime computes the same with them.
    example_inputs, keep_layout: as in mpq_torch.litert; a Keras model knows its shapes, and lies as LiteRT's do.

    A softmax, sigmoid or tanh at the end runs in float on the dequantized outputs.

    Raises TargetError for a recipe of another runtime, RecipeMismatch for one of another model, UnsupportedOp, with
    all names, for ops that LiteRT lacks and for what would stay float, GridError for steps too far apart, ModelError
    for a path that cannot be written, and PluginError where ai-edge-litert is not installed.
    """
    exporting.check_recipe(recipe)
    _, quantized = read_quantized(model, recipe)
    names = [name.removeprefix("quant_") for name in model.output_names]
    return exporting.exported(quantized, path, pack, keep_layout, names)


def verify(
    flat: bytes, simulated: Any, inputs: Any, recipe: Recipe | None = None, *, kernels: str | None = None
) -> Verification:
    """Run an exported model in LiteRT's interpreter and compare it with its simulation, code by code.

    flat: what ``export`` returned. simulated: the model that was exported, with its recipe; what ``simulate`` returned;
    the TF-MOT model that was converted; or a Simulation of the core. inputs: an array [N, ...], a list of one for each
    input, or an iterable of batches.
    kernels: "xnnpack" or "builtin"; by default those of the simulation's target.
    Where the model ends in float (softmax), the last tensors of the integer part are compared.

    Raises ModelError when the file and the model are not of one another, and PluginError without ai-edge-litert.
    """
    simulation = _simulation(simulated, recipe)
    return compare(flat, simulation, as_arrays(inputs, simulation.graph.arguments), kernels)


def _simulation(simulated: Any, recipe: Recipe | None) -> Simulation:
    if isinstance(simulated, Simulation):
        return simulated
    if isinstance(simulated, keras.Model):
        if recipe is None:
            from mpq_tfmot.hardening import harden

            recipe = harden(simulated, freeze=False)
        reading, quantized = read_quantized(simulated, recipe)
        return Simulation(quantized, reading.runner)
    raise ModelError("verify needs what mpq_tfmot.simulate returned, or a quantized model, as its second argument")

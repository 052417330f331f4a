"""LiteRT for Keras models: ``export`` a recipe as a .tflite of integer ops, ``verify`` it."""

from __future__ import annotations

from os import PathLike
from typing import Any

from mpq_plugins.exporters.litert import exporting
from mpq_plugins.exporters.litert.sizes import LitertSizes, sizes
from mpq_plugins.exporters.litert.verification import compare
from mpq_plugins.recipe.recipe import Recipe
from mpq_plugins.recipe.verification import Verification
from mpq_plugins.registry.renamed_arguments import renamed
from mpq_tfmot.reader.fitting import read_quantized
from mpq_tfmot.verifying import simulation_of

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


@renamed(flat="exported")
def verify(
    exported: str | PathLike[str] | bytes,
    simulated: Any,
    inputs: Any,
    recipe: Recipe | None = None,
    *,
    kernels: str | None = None,
) -> Verification:
    """Run an exported model in LiteRT's interpreter and compare it with its simulation, code by code.

    exported: the file, or its bytes. simulated: what ``simulate`` returned for the same model and recipe; the model
    that was exported, with its recipe; or the TF-MOT model that was converted.
    inputs: an array [N, ...], a list of one for each input, or an iterable of batches.
    kernels: "xnnpack", "builtin" (the reference ones) or "optimized"; by default those of the simulation's target.
    Where the model ends in float (softmax), the last tensors of the integer part are compared.

    Raises ModelError when the file and the model are not of one another, and PluginError without ai-edge-litert.
    """
    simulation, batches = simulation_of(simulated, recipe, inputs)
    return compare(exported, simulation, batches, kernels)

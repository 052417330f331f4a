"""LiteRT for torch models, without TensorFlow: ``export`` a recipe as a .tflite of integer ops, ``verify`` it.

Needs the extra ``[litert]``. Search with ``target="litert-po2"`` (``mpq_torch.fx.search`` and ``constrain`` as for any
target).
"""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from typing import Any

from torch import nn

from mpq_plugins.exporters.litert import exporting
from mpq_plugins.exporters.litert.verification import compare
from mpq_plugins.recipe.recipe import Recipe
from mpq_plugins.recipe.verification import Verification
from mpq_plugins.registry.renamed_arguments import renamed
from mpq_torch.calling.arguments import takes_of
from mpq_torch.calling.batches import as_batch
from mpq_torch.reader.fitting import read_quantized
from mpq_torch.reader.reading import Reading
from mpq_torch.simulation.simulated_model import simulation_of

__all__ = ["export", "verify"]


def export(
    model: nn.Module,
    recipe: Recipe,
    example_inputs: Any = None,
    path: str | PathLike[str] | None = None,
    *,
    pack: bool = True,
    keep_layout: bool = False,
) -> bytes:
    """The model of a recipe as a LiteRT flatbuffer (.tflite) of integer ops; returns its bytes.

    model: what ``fx.constrain`` returned, or any model that the recipe fits, whose weights and biases
        are then rounded to nearest. Inputs and outputs are float32, named as the model's arguments and results.
    example_inputs: a tensor, or a tuple of the model's arguments, for the shapes; None takes those of the recipe.
    path: where to write the file; None writes none.
    pack: store weights of 4 bits and fewer two to a byte, where the runtime computes the same with them.
    keep_layout: inputs and results of images lie as torch has them, [batch, channels, rows, columns], and are
        transposed inside. By default they are TRANSPOSED: the file takes and gives what users of LiteRT expect,
        [batch, rows, columns, channels] (and [batch, columns, channels] of signals).

    A softmax, sigmoid or tanh at the end runs in float on the dequantized outputs.

    Raises TargetError for a recipe of another runtime, RecipeMismatch for one of another model, UnsupportedOp, with
    all names, for ops that LiteRT lacks and for what would stay float, GridError for steps too far apart, ModelError
    for a path that cannot be written, and PluginError where ai-edge-litert is not installed.
    """
    exporting.check_recipe(recipe)
    example = None if example_inputs is None else as_batch(example_inputs, takes_of(model))
    reading, quantized = read_quantized(model, recipe, example)
    return exporting.exported(quantized, path, pack, keep_layout, _output_names(reading))


@renamed(flat="exported")
def verify(
    exported: str | PathLike[str] | bytes,
    simulated: nn.Module,
    inputs: Any,
    recipe: Recipe | None = None,
    *,
    kernels: str | None = None,
) -> Verification:
    """Run an exported model in LiteRT's interpreter and compare it with its simulation, code by code.

    exported: the file, or its bytes. simulated: what ``fx.simulate`` returned for the same model and recipe; or the
    model that was exported, with its recipe. inputs: a tensor, or an iterable of batches, as the torch model takes
    them.
    kernels: "xnnpack", "builtin" (the reference ones) or "optimized"; by default those of the simulation's target.
    Where the model ends in float (softmax), the last tensors of the integer part are compared.

    Raises ModelError when the file and the model are not of one another, and PluginError without ai-edge-litert.
    """
    model, batches = simulation_of(simulated, recipe, inputs)
    given = [[x.detach().cpu().numpy() for x in model.arguments(*batch)] for batch in batches]
    return compare(exported, model.simulation, given, kernels)


def _output_names(reading: Reading) -> list[str]:
    """The keys of a model that returns a mapping; else the names of what gives its results."""
    names = list(reading.graph.outputs)
    if isinstance(reading.returned, Mapping):
        indices = reading.structured(list(range(len(names))))
        for key, index in indices.items():
            if isinstance(index, int):
                names[index] = str(key)
    return names

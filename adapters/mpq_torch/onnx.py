"""ONNX for torch models: ``export`` a recipe as QuantizeLinear / DequantizeLinear, ``verify`` it in onnxruntime.

Needs the extra ``[onnx]``. Search with ``target="onnxruntime"`` (``mpq_torch.fx.search``, ``constrain``
and ``simulate`` as for any target).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from os import PathLike
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mpq_plugins import plugins
from mpq_plugins.errors import ModelError
from mpq_plugins.exporters.onnx import exporting
from mpq_plugins.exporters.onnx.comparing import Simulated, compare
from mpq_plugins.exporters.onnx.comparing import simulated as of_batch
from mpq_plugins.exporters.onnx.opsets import OLDEST_OPSET, check_opset
from mpq_plugins.exporters.onnx.sizes import FIXED, NEEDS_EXAMPLE
from mpq_plugins.recipe.recipe import Recipe
from mpq_plugins.recipe.verification import Verification
from mpq_plugins.registry.renamed_arguments import renamed
from mpq_torch.calling.arguments import flat, takes_of
from mpq_torch.calling.batches import as_batch, going_through
from mpq_torch.reader.fitting import read_quantized
from mpq_torch.simulation.simulated_model import SimulatedModel, simulation_of

__all__ = ["export", "verify"]


def export(
    model: nn.Module,
    recipe: Recipe,
    example_inputs: Any = None,
    path: str | PathLike[str] | None = None,
    *,
    opset: int = OLDEST_OPSET,
    pack: bool = True,
    symmetric: bool = False,
    dynamic_batch: bool = True,
) -> bytes:
    """The model of a recipe as ONNX: QuantizeLinear, integers in between, DequantizeLinear; returns its bytes.

    model: what ``fx.constrain`` returned, or any model that the recipe fits, whose weights and biases
        are then rounded to nearest. Inputs and outputs are float32; the inputs have the names of the model's arguments.
    example_inputs: a tensor, or a tuple of the model's arguments, for the shapes; None takes those of the recipe.
    path: where to write the file; None writes none.
    opset: 21 or later; int2 weights from 25 on, which onnxruntime reads up to 26.
    pack: store weights of 4 bits and fewer two (int2: four) to a byte.
    symmetric: store signed activations in int8 with zero point 0, which compilers for accelerators ask
        for, instead of uint8. onnxruntime then computes in float32 where its integer kernels want one
        type; the numbers are the same.
    dynamic_batch: leave the first dimension open; False fixes it at that of the example.

    Below 8 bits, a Clip of the integers follows each QuantizeLinear. onnxruntime's integer kernels (all but those of
    transposed convolutions) are exact whatever the sums; without its graph optimizations it computes in float32,
    which is exact while no sum of products passes 2**24 steps of the accumulator.

    Raises TargetError for a recipe of another target, RecipeMismatch for one of another model, ModelError for an
    opset that is too old, for more than one dynamic dimension and for a path that cannot be written, UnsupportedOp
    for an op or an argument without a form in ONNX, and PluginError where onnx is not installed.
    """
    check_opset(opset)
    exporting.check_recipe(recipe, plugins.target_of(recipe))
    example = None if example_inputs is None else as_batch(example_inputs, takes_of(model))
    reading, quantized = read_quantized(model, recipe, example)
    if dynamic_batch and reading.one_batch_size:
        raise ModelError(f"{reading.one_batch_size}; {FIXED}")
    if not dynamic_batch and example is None:
        raise ModelError(NEEDS_EXAMPLE)
    sizes = (len(t) for t in flat(example or ()) if isinstance(t, Tensor) and t.dim())
    batch = None if dynamic_batch else next(sizes, 1)
    return exporting.export(quantized, path, opset=opset, pack=pack, symmetric=symmetric, batch=batch)


@renamed(model="exported")
def verify(
    exported: str | PathLike[str] | bytes,
    simulated: nn.Module,
    inputs: Any,
    recipe: Recipe | None = None,
    *,
    optimized: bool = True,
) -> Verification:
    """Run an exported model in onnxruntime, on the CPU, and compare it with its simulation, element by element.

    exported: the file, or its bytes. simulated: what ``fx.simulate`` returned for the same model and recipe; or the
    model that was exported, with its recipe.
    inputs: a tensor, or an iterable of batches. optimized: with all graph optimizations of onnxruntime, or none.
    Where the model ends in float (softmax), the last tensors of the integer part are compared with the simulation,
    and the outputs, bit for bit, with what onnxruntime makes of the simulated ones.

    Raises ModelError when one of the two is not what export and simulate return, and PluginError where
    onnx or onnxruntime is not installed.
    """
    return compare(exported, _of_batches(*simulation_of(simulated, recipe, inputs)), optimized)


@torch.no_grad()
def _of_batches(simulated: SimulatedModel, batches: Sequence[tuple[Any, ...]]) -> Iterator[Simulated]:
    for batch in batches:
        given = simulated.arguments(*batch)
        feeds = [np.asarray(argument.detach(), np.float32) for argument in given if isinstance(argument, Tensor)]
        with going_through(batch):
            found = of_batch(simulated.simulation, given, feeds)
        yield found

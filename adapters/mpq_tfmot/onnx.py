"""ONNX for Keras models: ``export`` a recipe as QuantizeLinear / DequantizeLinear, ``verify`` it in onnxruntime.

Needs the extra ``[onnx]``. Search with ``target="onnxruntime"`` (``mpq_tfmot.search``, ``constrain``
and ``simulate`` as for any target).
"""

from __future__ import annotations

import warnings
from os import PathLike
from typing import Any

from mpq_plugins import plugins
from mpq_plugins.errors import ModelError
from mpq_plugins.exporters.onnx import exporting
from mpq_plugins.exporters.onnx.comparing import compare
from mpq_plugins.exporters.onnx.comparing import simulated as of_batch
from mpq_plugins.exporters.onnx.opsets import OLDEST_OPSET, check_opset
from mpq_plugins.exporters.onnx.sizes import NEEDS_EXAMPLE
from mpq_plugins.graph.simulation import Simulation
from mpq_plugins.recipe.recipe import Recipe
from mpq_plugins.recipe.verification import Verification
from mpq_plugins.registry.renamed_arguments import renamed
from mpq_tfmot.calibration.batches import as_batches, as_tensors, in_chunks
from mpq_tfmot.reader.fitting import read_quantized
from mpq_tfmot.simulation.simulated_model import BATCH
from mpq_tfmot.verifying import simulation_of

__all__ = ["export", "verify"]


def export(
    model: Any,
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

    model: as for ``simulate``. The recipe's target must be "onnxruntime". Inputs and outputs are float32, channels
        last, as Keras has them; softmax and other float ops at the end are written as they are.
    example_inputs: needed with ``dynamic_batch=False`` only; an array, or a tuple of the model's inputs.
    path: where to write the file; None writes none.
    opset: 21 or later; int2 weights from 25 on, which onnxruntime reads up to 26.
    pack: store weights of 4 bits and fewer two (int2: four) to a byte.
    symmetric: store signed activations in int8 with zero point 0 instead of uint8; the numbers are the same.
    dynamic_batch: leave the first dimension open; False fixes it at that of the example.

    Raises TargetError for a recipe of another target, RecipeMismatch for one of another model, ModelError for an
    opset that is too old and for a path that cannot be written, UnsupportedOp for an op or an argument without a form
    in ONNX, and PluginError where onnx is not installed.
    """
    check_opset(opset)
    exporting.check_recipe(recipe, plugins.target_of(recipe))
    reading, quantized = read_quantized(model, recipe)
    batch = None
    if not dynamic_batch:
        if example_inputs is None:
            raise ModelError(NEEDS_EXAMPLE)
        batch = len(as_batches([example_inputs], reading.graph.arguments)[0][0])
    return exporting.export(quantized, path, opset=opset, pack=pack, symmetric=symmetric, batch=batch)


@renamed(model="exported")
def verify(
    exported: str | PathLike[str] | bytes,
    simulated: Any,
    inputs: Any,
    recipe: Recipe | None = None,
    *,
    optimized: bool = True,
) -> Verification:
    """Run an exported model in onnxruntime, on the CPU, and compare it with its simulation, element by element.

    exported: the file, or its bytes. simulated: what ``simulate`` returned for the same model and recipe; or the
    model that was exported, with its recipe.
    inputs: an array, or an iterable of batches. optimized: with all graph optimizations of onnxruntime, or none.
    Where the model ends in float (softmax), the last tensors of the integer part are compared with the simulation,
    and the outputs, bit for bit, with what onnxruntime makes of the simulated ones.

    Raises ModelError when one of the two is not what export and simulate return, and PluginError where
    onnx or onnxruntime is not installed.
    """
    simulation, batches = simulation_of(simulated, recipe, inputs)
    chunks, taken = in_chunks(batches, BATCH), simulation.graph.arguments
    return compare(exported, (of_batch(simulation, as_tensors(batch, taken), batch) for batch in chunks), optimized)


def to_onnx(
    model: Any,
    recipe: Recipe,
    path: str | PathLike[str] | None = None,
    *,
    opset: int = OLDEST_OPSET,
    pack: bool = True,
    symmetric: bool = False,
) -> bytes:
    """The old name of ``mpq_tfmot.onnx.export``."""
    warnings.warn("mpq_tfmot.to_onnx is now mpq_tfmot.onnx.export", DeprecationWarning, stacklevel=2)
    return export(model, recipe, path=path, opset=opset, pack=pack, symmetric=symmetric)


def verify_onnx(
    onnx: str | PathLike[str] | bytes, simulated: Simulation, inputs: Any, *, optimized: bool = True
) -> Verification:
    """The old name of ``mpq_tfmot.onnx.verify``."""
    warnings.warn("mpq_tfmot.verify_onnx is now mpq_tfmot.onnx.verify", DeprecationWarning, stacklevel=2)
    return verify(onnx, simulated, inputs, optimized=optimized)

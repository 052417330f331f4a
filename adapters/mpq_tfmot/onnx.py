"""ONNX for Keras models: ``export`` a recipe as QuantizeLinear / DequantizeLinear, ``verify`` it in onnxruntime.

Needs the extra ``[onnx]``. Search with ``target="onnxruntime"`` (``mpq_tfmot.search``, ``constrain``
and ``simulate`` as for any target).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpq_plugins import plugins
from mpq_plugins.errors import ModelError
from mpq_plugins.exporters.onnx import exporting
from mpq_plugins.exporters.onnx.comparing import Simulated, compare
from mpq_plugins.exporters.onnx.opsets import OLDEST_OPSET, check_opset
from mpq_plugins.graph.simulation import Simulation
from mpq_plugins.recipe import Recipe
from mpq_plugins.verification import Verification
from mpq_tfmot.batches import as_batches, in_chunks
from mpq_tfmot.reader.fitting import read_quantized
from mpq_tfmot.simulated import BATCH, as_tensors

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
    exporting.check_recipe(recipe, plugins.target(recipe.target))
    reading, quantized = read_quantized(model, recipe)
    batch = None
    if not dynamic_batch:
        if example_inputs is None:
            raise ModelError("dynamic_batch=False fixes the batch at that of the example: pass example_inputs")
        shapes = [node.sample_shape for node in reading.graph.arguments]
        batch = len(as_batches([example_inputs], shapes)[0][0])
    return exporting.export(quantized, path, opset=opset, pack=pack, symmetric=symmetric, batch=batch)


def verify(
    model: str | PathLike[str] | bytes, simulated: Simulation, inputs: Any, *, optimized: bool = True
) -> Verification:
    """Run an exported model in onnxruntime, on the CPU, and compare it with its simulation, element by element.

    model: the file, or its bytes. simulated: what ``simulate`` returned for the same model and recipe.
    inputs: an array, or an iterable of batches. optimized: with all graph optimizations of onnxruntime, or none.
    Where the model ends in float (softmax), the last tensors of the integer part are compared with the simulation,
    and the outputs, bit for bit, with what onnxruntime makes of the simulated ones.

    Raises ModelError when one of the two is not what export and simulate return, and PluginError where
    onnx or onnxruntime is not installed.
    """
    if not isinstance(simulated, Simulation):
        raise ModelError("verify needs what mpq_tfmot.simulate returned as its second argument")
    batches = as_batches(inputs, [node.sample_shape for node in simulated.graph.arguments])
    return compare(model, _simulated(simulated, in_chunks(batches, BATCH)), optimized)


def _simulated(simulation: Simulation, batches: Any) -> Iterator[Simulated]:
    graph = simulation.graph
    for batch in batches:
        found = simulation.run(as_tensors(batch))
        values = {name: np.asarray(simulation.value(name, held)) for name, held in found.items()}

        def sites(values: dict[str, NDArray[Any]] = values) -> dict[str, tuple[NDArray[Any], float]]:
            on_grid = [node for node in graph.nodes if node.name in simulation.quantized.grid_of]
            return {node.site: (values[node.name], simulation.quantized.grid(node).steps[0]) for node in on_grid}

        ends = [values[name] for name in graph.integer_outputs]
        yield Simulated(batch, ends, sites, [values[name] for name in graph.outputs])


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

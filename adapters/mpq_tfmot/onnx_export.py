"""A Keras model on its grids as ONNX, and the proof that onnxruntime computes what was simulated."""

from __future__ import annotations

from collections.abc import Iterator
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.errors import ModelError, TargetError
from mpq_plugins.exporters.onnx.opsets import OLDEST_OPSET
from mpq_plugins.exporters.onnx.running import Simulated, compare
from mpq_plugins.exporters.onnx.writer import GraphWriter
from mpq_plugins.hardware.onnxruntime import ONNXRUNTIME
from mpq_plugins.recipe import Recipe
from mpq_plugins.stored import whole_file
from mpq_plugins.verification import Verification
from mpq_tfmot.api import simulate
from mpq_tfmot.batches import as_batches, in_chunks
from mpq_tfmot.canonical import last_integer_ops
from mpq_tfmot.model_sites import take_inventory
from mpq_tfmot.onnx_graph import Walk, channels_first
from mpq_tfmot.simulation import BATCH, Simulation


def to_onnx(
    model: Any,
    recipe: Recipe,
    path: str | PathLike[str] | None = None,
    *,
    opset: int = OLDEST_OPSET,
    pack: bool = True,
    symmetric: bool = False,
) -> bytes:
    """The model as ONNX: QuantizeLinear, integers in between, DequantizeLinear; returns its bytes.

    model: as for ``simulate``. The recipe's target must be "onnxruntime". Inputs and outputs are float32, channels
        last, with an open batch; a softmax or the like at the end runs in float.
    path: where to write the file; None writes none. opset: 21 or later; int2 weights from 25 on. pack: store
        weights of 4 bits and fewer two (int2: four) to a byte. symmetric: signed activations in int8 with zero point 0.

    Raises TargetError, RecipeMismatch, UnsupportedOp, ModelError and, where onnx is not installed, PluginError.
    """
    writer = GraphWriter(opset, pack, symmetric)
    simulation = simulate(model, recipe)
    if simulation.target.runtime is None or simulation.target.runtime.framework != ONNXRUNTIME:
        raise TargetError(
            f"target {simulation.target.name!r} may round otherwise than onnxruntime; search for {ONNXRUNTIME}, or "
            f"take the grids over with dataclasses.replace(recipe, target={ONNXRUNTIME!r})"
        )
    for site in take_inventory(simulation.model).inventory:
        simulation.target.check(site, recipe[site.name])
    content: bytes = writer.model(Walk(writer, simulation).write(), {"mpq_target": recipe.target}).SerializeToString()
    if path is not None:
        whole_file.write(path, content, "ONNX model", ModelError)
    return content


def verify_onnx(
    onnx: str | PathLike[str] | bytes, simulated: Simulation, inputs: Any, *, optimized: bool = True
) -> Verification:
    """Run an exported model in onnxruntime, on the CPU, and compare it with its simulation, element by element.

    onnx: the file, or its bytes. simulated: what ``simulate`` returned for the same model and recipe.
    inputs: an array, or an iterable of batches. optimized: with all graph optimizations of onnxruntime, or none.
    """
    if not isinstance(simulated, Simulation):
        raise ModelError("verify_onnx needs what mpq_tfmot.simulate returned as its second argument")
    batches = as_batches(inputs, [op.shape for op in simulated.model.inputs])
    return compare(onnx, _simulated(simulated, in_chunks(batches, BATCH)), optimized)


def _simulated(simulation: Simulation, batches: Any) -> Iterator[Simulated]:
    model = simulation.model
    for batch in batches:
        values = simulation.run(list(batch))

        def sites(values: dict[str, Any] = values) -> dict[str, tuple[NDArray[Any], float]]:
            named = ((op, values[op.name]) for op in model.ops if op.name in simulation.grid_of)
            return {
                op.name: (channels_first(op, np.asarray(value)), simulation.grid(op).steps[0]) for op, value in named
            }

        yield Simulated(batch, [np.asarray(values[name]) for name in last_integer_ops(model)], sites)

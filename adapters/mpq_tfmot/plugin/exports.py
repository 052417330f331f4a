"""The files that ``mpq export`` makes of a Keras model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mpq_plugins.exporters.litert import exporting
from mpq_plugins.recipe.recipe import Recipe
from mpq_plugins.workspace.command_protocol import Exported, ExportFormat
from mpq_tfmot import litert
from mpq_tfmot.api import constrain, simulate
from mpq_tfmot.calibration.batches import Batch


def to_flatbuffer(model: Any, recipe: Recipe, batches: Sequence[Batch]) -> Exported:
    """The model as a LiteRT flatbuffer of integer ops, verified against the simulation."""
    exporting.check_recipe(recipe)
    on_grid = constrain(model, recipe, list(batches))
    flat = litert.export(on_grid, recipe)
    verification = litert.verify(flat, simulate(on_grid, recipe), list(batches))
    return Exported(flat, "LiteRT flatbuffer of integer ops; input and output are float32", verification)


def to_onnx(model: Any, recipe: Recipe, batches: Sequence[Batch]) -> Exported:
    """The model as QuantizeLinear / DequantizeLinear ONNX, verified against the simulation in onnxruntime."""
    from mpq_tfmot import onnx

    on_grid = constrain(model, recipe, list(batches))
    content = onnx.export(on_grid, recipe)
    verification = onnx.verify(content, simulate(on_grid, recipe), list(batches))
    return Exported(content, "ONNX with QuantizeLinear and DequantizeLinear, channels last", verification)


EXPORTS = {"litert": ExportFormat(".tflite", to_flatbuffer), "onnx": ExportFormat(".onnx", to_onnx)}
"""By the name that ``--to`` takes."""

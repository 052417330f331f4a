"""The files that ``mpq export`` makes of a Keras model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mpq_plugins.command_protocol import Exported, ExportFormat
from mpq_plugins.exporters.litert import exporting
from mpq_plugins.recipe import Recipe
from mpq_tfmot.api import constrain, simulate, to_litert
from mpq_tfmot.batches import Batch
from mpq_tfmot.litert import verify


def to_flatbuffer(model: Any, recipe: Recipe, batches: Sequence[Batch]) -> Exported:
    """The model as a LiteRT flatbuffer of integer ops, verified against the simulation."""
    exporting.check_recipe(recipe)
    on_grid = constrain(model, recipe, list(batches))
    flat = to_litert(on_grid, recipe)
    verification = verify(flat, simulate(on_grid, recipe), _whole(batches))
    return Exported(flat, "LiteRT flatbuffer of integer ops; input and output are float32", verification)


def to_onnx(model: Any, recipe: Recipe, batches: Sequence[Batch]) -> Exported:
    """The model as QuantizeLinear / DequantizeLinear ONNX, verified against the simulation in onnxruntime."""
    from mpq_tfmot import onnx

    on_grid = constrain(model, recipe, list(batches))
    content = onnx.export(on_grid, recipe)
    verification = onnx.verify(content, simulate(on_grid, recipe), list(batches))
    return Exported(content, "ONNX with QuantizeLinear and DequantizeLinear, channels last", verification)


def _whole(batches: Sequence[Batch]) -> Any:
    inputs = [np.concatenate(parts) for parts in zip(*batches, strict=True)]
    return inputs if len(inputs) > 1 else inputs[0]


EXPORTS = {"litert": ExportFormat(".tflite", to_flatbuffer), "onnx": ExportFormat(".onnx", to_onnx)}
"""By the name that ``--to`` takes."""

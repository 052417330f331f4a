"""Files for runtimes that read a model (LiteRT, ONNX Runtime), written and compared by an adapter's own verbs."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mpq_plugins.exporters.litert.exporting import FRAMEWORK as LITERT
from mpq_plugins.exporters.litert.exporting import check_recipe as check_for_litert
from mpq_plugins.graph.runtimes.onnxruntime import FRAMEWORK as ONNXRUNTIME
from mpq_plugins.hardware.known_targets import target_of
from mpq_plugins.recipe.recipe import Recipe
from mpq_plugins.recipe.verification import Verification
from mpq_plugins.workspace.command_protocol import Exported, ExportFormat

SUFFIXES: Mapping[str, str] = {"litert": ".tflite", "onnx": ".onnx"}
FORMATS: Mapping[str, str] = {LITERT: "litert", ONNXRUNTIME: "onnx"}
"""By the framework of a target's runtime."""


def compared(package: str, on_grid: Any, recipe: Recipe, batches: Sequence[Any]) -> Verification | None:
    """What the runtime of the recipe's target makes of the model against its simulation; None where it reads no file.

    package: of the adapter, whose modules ``litert`` and ``onnx`` have ``export`` and ``verify``. on_grid: what its
    ``constrain`` returned.
    """
    runtime = target_of(recipe).runtime
    known = None if runtime is None else FORMATS.get(runtime.framework)
    return None if known is None else written(package, known, on_grid, recipe, batches)[1]


def written(
    package: str, known: str, on_grid: Any, recipe: Recipe, batches: Sequence[Any]
) -> tuple[bytes, Verification]:
    """The bytes of the file, and a comparison of what its runtime computes with the simulation. known: the format."""
    verbs = importlib.import_module(f"{package}.{known}")
    content = verbs.export(on_grid, recipe, batches[0])
    return content, verbs.verify(content, on_grid, list(batches), recipe)


def formats(package: str, constrain: Callable[..., Any], summaries: Mapping[str, str]) -> dict[str, ExportFormat]:
    """What ``mpq export`` offers of them. summaries: what the file of each format is, in a few words."""
    return {
        known: ExportFormat(SUFFIXES[known], _export(package, known, constrain, summary))
        for known, summary in summaries.items()
    }


def _export(package: str, known: str, constrain: Callable[..., Any], summary: str) -> Callable[..., Exported]:
    def export(model: Any, recipe: Recipe, batches: Sequence[Any]) -> Exported:
        if known == "litert":
            check_for_litert(recipe)  # before anything takes long
        content, verification = written(package, known, constrain(model, recipe, list(batches)), recipe, batches)
        return Exported(content, summary, verification)

    return export

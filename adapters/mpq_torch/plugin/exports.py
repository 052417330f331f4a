"""The files that ``mpq export`` makes of a torch model."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from mpq_plugins.errors import VerificationError
from mpq_plugins.recipe.recipe import Recipe
from mpq_plugins.workspace.command_protocol import Exported, ExportFormat
from mpq_plugins.workspace.runtime_files import formats
from mpq_torch import fx
from mpq_torch.calling.batches import Batch
from mpq_torch.reader.returned import tensors_of
from mpq_torch.torch_ao.engine import engine_of, quantized_engine


def to_torch(model: nn.Module, recipe: Recipe, batches: Sequence[Batch]) -> Exported:
    """The int8 model as TorchScript, verified against the simulation before and after it was traced."""
    on_grid = fx.constrain(model, recipe, list(batches))
    int8 = fx.quantize(on_grid, recipe, batches[0])
    verification = fx.verify(int8, fx.simulate(on_grid, recipe), list(batches))
    engine = engine_of(int8)
    int8._forward_pre_hooks.clear()  # the check of the engine is no part of the graph
    buffer = io.BytesIO()
    with warnings.catch_warnings(), quantized_engine(engine), torch.no_grad():
        warnings.simplefilter("ignore")  # torch.jit announces its own deprecation
        torch.jit.save(torch.jit.trace(int8, tuple(batches[0])), buffer)
        buffer.seek(0)
        again = torch.jit.load(buffer)
        for batch in batches:
            if not _equal(again(*batch), int8(*batch)):
                raise VerificationError("the traced model differs from the converted one; convert it in Python")
    summary = f"TorchScript; set torch.backends.quantized.engine = {engine!r} to run it"
    return Exported(buffer.getvalue(), summary, verification)


def _equal(a: Any, b: Any) -> bool:
    return all(torch.equal(x, y) for x, y in zip(tensors_of(a), tensors_of(b), strict=True))


EXPORTS = {
    "torch": ExportFormat(".pt", to_torch),
    **formats(
        "mpq_torch",
        fx.constrain,
        {
            "onnx": "ONNX with QuantizeLinear and DequantizeLinear",
            "litert": "LiteRT flatbuffer of integer ops; input and output are float32, images channels last",
        },
    ),
}
"""By the name that ``--to`` takes."""

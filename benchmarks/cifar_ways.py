"""Ways from a constrained CIFAR model to integer kernels, for the tables of the benchmarks."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mpq_plugins import Recipe
from mpq_plugins.recipe.verification import Verification
from mpq_torch import fx

BATCH = 500
"""Images that the benchmarks score at a time."""

Images = Any
"""A tensor, or an iterable of batches."""


@dataclass(frozen=True)
class Converted:
    """run: images -> scores. verify: images -> comparison with the simulation. bytes: of the model's file."""

    run: Callable[[Tensor], Tensor]
    verify: Callable[[Images], Verification]
    bytes: int


@dataclass(frozen=True)
class Way:
    """target: whose arithmetic it has. convert: of a constrained model, its recipe and an example."""

    target: str
    convert: Callable[[nn.Module, Recipe, Tensor], Converted]


def file_bytes(model: nn.Module) -> int:
    """Bytes of the model's state_dict as torch.save writes it."""
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    return buffer.getbuffer().nbytes


def through_fx(on_grid: nn.Module, recipe: Recipe, example: Tensor) -> Converted:
    """torch.ao's prepare_fx and convert_fx."""
    int8, simulated = fx.quantize(on_grid, recipe, example), fx.simulate(on_grid, recipe)
    torch.backends.quantized.engine = "x86"
    return Converted(int8, lambda images: fx.verify(int8, simulated, images), file_bytes(int8))


def through_onnx(on_grid: nn.Module, recipe: Recipe, example: Tensor) -> Converted:
    """An ONNX file in onnxruntime, compared with all of its graph optimizations and with none."""
    from mpq_plugins.exporters.onnx.running import run, session
    from mpq_torch import onnx

    content, simulated = onnx.export(on_grid, recipe, example), fx.simulate(on_grid, recipe)
    running = session(content)

    def verify(images: Images) -> Verification:
        images = [part for batch in images for part in batch.split(100)]
        plain = onnx.verify(content, simulated, images, optimized=False)
        return onnx.verify(content, simulated, images) if plain.exact else plain

    return Converted(lambda images: torch.from_numpy(run(running, [images.numpy()])[0]), verify, len(content))


def through_pt2e(on_grid: nn.Module, recipe: Recipe, example: Tensor) -> Converted:
    """torchao's prepare_pt2e and convert_pt2e; the q/dq graph in float."""
    from mpq_torch import pt2e

    converted, simulated = pt2e.quantize(on_grid, recipe, example), pt2e.simulate(on_grid, recipe)
    return Converted(converted, lambda images: pt2e.verify(converted, simulated, images), file_bytes(converted))


def through_pt2e_x86(on_grid: nn.Module, recipe: Recipe, example: Tensor) -> Converted:
    """The same graph on inductor's int8 kernels, for batches of BATCH images."""
    from mpq_torch import pt2e

    batch = example[:1].expand(BATCH, *example.shape[1:])
    converted, simulated = pt2e.quantize(on_grid, recipe, batch), pt2e.simulate(on_grid, recipe)
    lowered = pt2e.lower_to_x86(converted, (batch,))
    return Converted(lowered, lambda images: pt2e.verify(lowered, simulated, images), file_bytes(converted))


WAYS = {
    "fx": Way("torch-x86", through_fx),
    "onnx": Way("onnxruntime", through_onnx),
    "pt2e": Way("torch-pt2e", through_pt2e),
    "pt2e-x86": Way("torch-pt2e-x86", through_pt2e_x86),
}
"""By the name that ``--through`` takes."""

"""Torch models as .tflite files of integer ops: outputs that differ from the simulation, by bits.

    python -m benchmarks.torch_litert [--data DIR] [--bits 2 3 4 5 6 7 8] [--images 32] [--kernels xnnpack]

The pretrained ResNet-20 of CIFAR-10 (DIR is laid out as for benchmarks.cifar_ptq; left out without it), MobileNetV2 at
64 x 64 and a U-Net at 64 x 64, with transposed convolutions and with nearest upsampling, whose weights are drawn. A
search at 8 bits finds the thresholds; fewer bits have the same thresholds, for weights (a step per channel where the
target has it) and activations alike. Every output code of the file in LiteRT's interpreter is compared with the
simulation, on images inside of the ranges and beyond. Exits with 1 where one differs.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.cifar import load_images, load_model
from benchmarks.torch_networks import MobileNetV2, UNet, settled
from mpq_plugins import Grid, Recipe
from mpq_torch import fx, litert

TARGETS = {"xnnpack": "litert-po2", "builtin": "litert-po2-reference", "optimized": "litert-po2-optimized"}
BITS = tuple(range(2, 9))
SIZE = (3, 64, 64)


def models(data: Path | None, images: int) -> Iterator[tuple[str, nn.Module, Tensor]]:
    """Name, model in eval mode, and images."""
    if data is not None:
        yield "ResNet-20", load_model("resnet20", data), load_images(data, train=False)[0][:images]
    drawn = {
        "MobileNetV2": MobileNetV2,
        "U-Net, transposed": lambda: UNet(transposed=True),
        "U-Net, nearest": lambda: UNet(transposed=False),
    }
    for name, make in drawn.items():
        torch.manual_seed(0)
        yield name, settled(make(), SIZE), torch.randn(images, *SIZE)


def at_bits(recipe: Recipe, bits: int) -> Recipe:
    """The recipe with all thresholds as they are, at another number of bits."""
    grids = {}
    for entry in recipe.sites:
        grid = entry.grid
        grids[entry.site] = replace(
            grid, bits=bits, steps=tuple(step * 2.0 ** (grid.bits - bits) for step in grid.steps)
        )
    return recipe.with_grids({site: Grid(g.bits, g.steps, g.signed, g.narrow, g.axis) for site, g in grids.items()})


def main(arguments: Sequence[str] | None = None) -> int:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--bits", type=int, nargs="+", default=BITS)
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--kernels", choices=TARGETS, default="xnnpack")
    asked = parser.parse_args(arguments)
    wrong = 0
    for name, model, images in models(asked.data, asked.images):
        started = time.perf_counter()
        widest = fx.search(
            model, [images[:16]], TARGETS[asked.kernels], weight_bits=8, activation_bits=8, progress=False
        )
        for bits in asked.bits:
            recipe = at_bits(widest, bits)
            flat = litert.export(model, recipe)
            found = litert.verify(flat, model, [images, 1.5 * images[:4]], recipe)
            wrong += found.mismatched
            print(
                f"{name:18} {bits} bits: {found.mismatched} of {found.elements} outputs differ, {len(flat):,} bytes",
                flush=True,
            )
        print(f"{name:18} {time.perf_counter() - started:.0f} s")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())

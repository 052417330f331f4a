"""Post-training mixed precision of pretrained CIFAR-10 networks: accuracy, seconds, bytes.

    python -m benchmarks.cifar_ptq --data DIR [--models resnet20 resnet32] [--bits 5 4 3 2.5] [--through fx pt2e]
                                   [--per tensor channel] [--activations 8] [--average] [--equalize 1]
                                   [--mirror] [--positions 65536] [--test 10000]

DIR holds ``cifar-10-batches-py`` (the public archive) and the checkpoints of
akamaster/pytorch_resnet_cifar10, or those that torchvision_models names. Weights at an average number of
bits under a power-of-two grid per tensor and per channel, 512 calibration images of the training set; scored on
the test images as float model, simulation and int8 model: by torch.ao on the x86 engine ("fx"), or by another of
the ways of cifar_ways with the same grids.

Activations have 8 bits, or, with ``--activations``, as many as each of ``--bits`` is paired with: all of them, or, with
``--average``, on average over elements, chosen together with those of the weights. Inputs and logits keep 8, and
count in the average. ``--equalize 1``: the channels of activations are scaled (``fx.equalize``) for
the bits that a first search gave them, and the model is searched again. ``--mirror``: weights are rounded by the
calibration images and by the same ones mirrored; ``--positions``: by so many positions of each layer, about.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from torch import Tensor, nn

import mpq_plugins as mpq
from benchmarks import torchvision_models
from benchmarks.cifar import CHECKPOINTS, accuracy, load_images, load_model
from benchmarks.cifar_ways import WAYS, file_bytes
from mpq_plugins.inventory import Inventory
from mpq_plugins.rounding.moments.thinning import COLUMNS
from mpq_torch import fx

CALIBRATION = 512
BATCH = 128
HEADINGS = (
    "model",
    "through",
    "weights per",
    "bits",
    "activation bits",
    "float %",
    "simulated %",
    "int8 %",
    "int8 = simulation",
    "search s",
    "constrain s",
    "convert s",
    "weight bytes",
    "int8 file",
    "float file",
)


def candidates(inventory: Inventory, bits: float, average: bool) -> dict[str, int | tuple[int, ...]]:
    """Bits that activations may have by name: 8 of inputs and of the last, what comes out."""
    sites = inventory.activations
    ends = [site.name for site in sites if site.op == "input"] + [sites[-1].name]
    return {**dict.fromkeys(ends, 8), "*": tuple(range(2, 9)) if average else int(bits)}


def run(
    name: str,
    model: nn.Module,
    bits: float,
    activations: float,
    average: bool,
    per_channel: bool,
    calibration: Sequence[Tensor],
    test: tuple[Tensor, Tensor],
    ways: Sequence[str],
    float_accuracy: float,
    at_once: int = 500,
    equalized: int = 0,
    mirrored: bool = False,
    positions: int = COLUMNS,
) -> Iterator[tuple[str, ...]]:
    """One search, and for each way a row: constrain, convert, verify on all test images, score.

    at_once: test images in a batch. equalized: how often channels of activations are equalized, and searched again.
    mirrored: round weights by mirrored images too. positions: as of ``fx.constrain``.
    """
    inventory = fx.inventory(model, calibration[0][:1], target="torch-x86")
    start = time.perf_counter()
    budget = mpq.Budget(average_weight_bits=bits, average_activation_bits=activations if average else None)
    given = candidates(inventory, activations, average)
    recipe = fx.search(model, calibration, "torch-x86", budget, activation_bits=given, per_channel=per_channel)
    for _ in range(equalized):
        model = fx.equalize(model, calibration, recipe)
        recipe = fx.search(model, calibration, "torch-x86", budget, activation_bits=given, per_channel=per_channel)
    searched = time.perf_counter() - start
    images = [*calibration, *(x.flip(-1) for x in calibration)] if mirrored else calibration
    for way in ways:
        own = replace(recipe, target=WAYS[way].target)
        start = time.perf_counter()
        on_grid = fx.constrain(model, own, images, positions=positions)
        constrained = time.perf_counter()
        converted = WAYS[way].convert(on_grid, own, test[0][:1])
        done = time.perf_counter()
        verification = converted.verify(test[0].split(at_once))
        scored = accuracy(converted.run, *test, at_once)
        simulated = scored  # of equal logits
        if not verification.exact:
            simulated = accuracy(fx.simulate(on_grid, own), *test, at_once)
        yield (
            name,
            way,
            "channel" if per_channel else "tensor",
            f"{recipe.average_weight_bits:.3f}",
            f"{activations:g} on average" if average else f"{activations:g}",
            f"{float_accuracy:.2f}",
            f"{simulated:.2f}",
            f"{scored:.2f}",
            "exact" if verification.exact else str(verification),
            f"{searched:.1f}",
            f"{constrained - start:.1f}",
            f"{done - constrained:.1f}",
            f"{recipe.weight_bytes:,.0f}",
            f"{converted.bytes:,}",
            f"{file_bytes(model):,}",
        )


def main() -> None:
    """Print one table row per model, granularity, budget and way, as each is done."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the archive and the checkpoints")
    known = sorted({**CHECKPOINTS, **torchvision_models.CHECKPOINTS})
    parser.add_argument("--models", nargs="+", choices=known, default=sorted(CHECKPOINTS))
    parser.add_argument("--bits", nargs="+", type=float, default=[5, 4, 3, 2.5])
    parser.add_argument("--through", nargs="+", choices=sorted(WAYS), default=["fx"])
    parser.add_argument("--per", nargs="+", choices=("tensor", "channel"), default=["tensor", "channel"])
    parser.add_argument(
        "--activations", nargs="+", type=float, default=[8], help="bits; one, or one for each of --bits"
    )
    parser.add_argument("--average", action="store_true", help="so many bits on average over all activations")
    parser.add_argument("--equalize", type=int, default=0, help="times: scale channels of activations, search again")
    parser.add_argument("--mirror", action="store_true", help="round weights by mirrored calibration images too")
    parser.add_argument("--positions", type=int, default=COLUMNS, help="of each layer, that its weight is rounded by")
    parser.add_argument("--test", type=int, default=10_000, help="how many of the test images score")
    arguments = parser.parse_args()
    few = len(arguments.activations) == 1
    activations = arguments.activations * len(arguments.bits) if few else arguments.activations
    images, _ = load_images(arguments.data, train=True)
    calibration = images[:CALIBRATION].split(BATCH)
    images, labels = load_images(arguments.data, train=False)
    test = images[: arguments.test], labels[: arguments.test]
    print("| " + " | ".join(HEADINGS) + " |")
    print("|" + "---|" * len(HEADINGS), flush=True)
    for name in arguments.models:
        model = (load_model if name in CHECKPOINTS else torchvision_models.load)(name, arguments.data)
        float_accuracy = accuracy(model, *test)
        for per in arguments.per:
            for bits, width in zip(arguments.bits, activations, strict=True):
                settings = bits, width, arguments.average, per == "channel"
                given = calibration, test, arguments.through, float_accuracy, 500, arguments.equalize
                more = arguments.mirror, arguments.positions
                for row in run(name, model, *settings, *given, *more):
                    print("| " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main()

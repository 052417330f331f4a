"""Which candidate bit-widths are enough: ResNet-20 on CIFAR-10, post-training, by candidate set and budget.

    python -m benchmarks.candidates --data DIR [--bits 4 3 2.5]

Per-tensor power-of-two weights, 8-bit activations, 512 calibration images; scored by the simulation on the
10,000 test images (the int8 model equals it).
"""

from __future__ import annotations

import argparse
from pathlib import Path

import mpq_plugins as mpq
from benchmarks.cifar import accuracy, load_images, load_model
from mpq_torch import fx

CALIBRATION = 512
BATCH = 128
SETS = {"2, 4, 8": (2, 4, 8), "2, 3, 4, 8": (2, 3, 4, 8), "2 .. 8": tuple(range(2, 9))}


def main() -> None:
    """Print one table row per candidate set, as each is done."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--bits", nargs="+", type=float, default=[4, 3, 2.5])
    arguments = parser.parse_args()
    images, _ = load_images(arguments.data, train=True)
    calibration = images[:CALIBRATION].split(BATCH)
    del images
    test = load_images(arguments.data, train=False)
    model = load_model("resnet20", arguments.data)
    print("| candidates | " + " | ".join(f"{bits:g} bits on average" for bits in arguments.bits) + " |")
    print("|---|" + "---|" * len(arguments.bits), flush=True)
    for name, candidates in SETS.items():
        cells = []
        for bits in arguments.bits:
            budget = mpq.Budget(average_weight_bits=bits)
            recipe = fx.search(
                model,
                calibration,
                "torch-x86",
                budget,
                weight_bits=candidates,
                activation_bits=8,
                per_channel=False,
            )
            simulated = fx.simulate(fx.constrain(model, recipe, calibration), recipe)
            cells.append(f"{accuracy(simulated, *test):.2f}")
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()

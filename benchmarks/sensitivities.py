"""The sensitivities on one model: accuracy of ResNet-20 when each of them chooses the bits of its weights.

    python -m benchmarks.sensitivities --data DIR [--bits 4 3] [--images 2000]

DIR is laid out as for benchmarks.cifar_ptq. One search each, under an average of weight bits, activations at 8
bits, by the same integer programme (method ohq without a latency table); thresholds, rounding and calibration
images (256, of the training set) are the same for all. Scored by simulation. "data-free": the same mask-guided
search on inputs made from the batch norms.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import mpq_plugins as mpq
from benchmarks.cifar import accuracy, load_images, load_model
from mpq_plugins.methods.ohq import Ohq
from mpq_plugins.sensitivities.masking import MaskGuided
from mpq_torch import fx

CALIBRATION, BATCH = 256, 64
MEASURES = {
    "sqnr": "sqnr",
    "fisher (as msqe)": "fisher",
    "kl": "kl",
    "mask, linear gain": MaskGuided(gain="linear"),
    "mask, noise gain": MaskGuided(gain="noise"),
    "mask, quantized, noise gain": MaskGuided(mask="quantized", gain="noise"),
    "mask, magnitude, noise gain": MaskGuided(mask="magnitude", gain="noise"),
    "mask, half of it, noise gain": MaskGuided(fraction=0.5, gain="noise"),
    "mask, noise gain, data-free": MaskGuided(gain="noise"),
}
HEADINGS = ("sensitivity", "average bits", "top-1 %", "search s", "bits of the layers")


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one table row per measure and budget, as each is done."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the archive and the checkpoints")
    parser.add_argument("--bits", nargs="+", type=float, default=[4, 3])
    parser.add_argument("--images", type=int, default=2000)
    chosen = parser.parse_args(arguments)
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


if __name__ == "__main__":
    main()

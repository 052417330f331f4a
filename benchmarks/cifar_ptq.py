"""Post-training mixed precision of pretrained CIFAR-10 ResNets: accuracy, seconds, bytes.

    python -m benchmarks.cifar_ptq --data DIR [--models resnet20 resnet32] [--bits 5 4 3 2.5]

DIR holds ``cifar-10-batches-py`` (the public archive) and the checkpoints of
akamaster/pytorch_resnet_cifar10. Weights at an average number of bits under a power-of-two grid per
tensor and per channel, activations at 8 bits, 512 calibration images of the training set; scored on
the 10,000 test images as float model, simulation and int8 model (torch's x86 engine).
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

import mpq_plugins as mpq
from benchmarks.cifar import CHECKPOINTS, accuracy, load_images, load_model
from mpq_torch import fx

CALIBRATION = 512
BATCH = 128
HEADINGS = (
    "model",
    "weights per",
    "bits",
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


def file_bytes(model: nn.Module) -> int:
    """Bytes of the model's state_dict as torch.save writes it."""
    buffer = io.BytesIO()
    torch.save(model.state_dict(), buffer)
    return buffer.getbuffer().nbytes


def run(
    name: str,
    model: nn.Module,
    bits: float,
    per_channel: bool,
    calibration: Sequence[Tensor],
    test: tuple[Tensor, Tensor],
) -> tuple[str, ...]:
    """One row: search, constrain, convert, verify on all test images, score."""
    start = time.perf_counter()
    recipe = fx.search(
        model,
        calibration,
        "torch-x86",
        mpq.Budget(average_weight_bits=bits),
        activation_bits=8,
        per_channel=per_channel,
    )
    searched = time.perf_counter()
    on_grid = fx.constrain(model, recipe, calibration)
    constrained = time.perf_counter()
    int8 = fx.quantize(on_grid, recipe, test[0][:1])
    converted = time.perf_counter()
    simulated = fx.simulate(on_grid, recipe)
    verification = fx.verify(int8, simulated, test[0].split(500))
    torch.backends.quantized.engine = "x86"
    return (
        name,
        "channel" if per_channel else "tensor",
        f"{recipe.average_weight_bits:.3f}",
        f"{accuracy(model, *test):.2f}",
        f"{accuracy(simulated, *test):.2f}",
        f"{accuracy(int8, *test):.2f}",
        "exact" if verification.exact else str(verification),
        f"{searched - start:.1f}",
        f"{constrained - searched:.1f}",
        f"{converted - constrained:.1f}",
        f"{recipe.weight_bytes:,.0f}",
        f"{file_bytes(int8):,}",
        f"{file_bytes(model):,}",
    )


def main() -> None:
    """Print one table row per model, granularity and budget, as each is done."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the archive and the checkpoints")
    parser.add_argument("--models", nargs="+", choices=sorted(CHECKPOINTS), default=sorted(CHECKPOINTS))
    parser.add_argument("--bits", nargs="+", type=float, default=[5, 4, 3, 2.5])
    arguments = parser.parse_args()
    images, _ = load_images(arguments.data, train=True)
    calibration = images[:CALIBRATION].split(BATCH)
    test = load_images(arguments.data, train=False)
    print("| " + " | ".join(HEADINGS) + " |")
    print("|" + "---|" * len(HEADINGS), flush=True)
    for name in arguments.models:
        model = load_model(name, arguments.data)
        for per_channel in (False, True):
            for bits in arguments.bits:
                print("| " + " | ".join(run(name, model, bits, per_channel, calibration, test)) + " |", flush=True)


if __name__ == "__main__":
    main()

"""Quantized models as integers alone: the NumPy executor and the C program against the simulation.

    python -m benchmarks.integers --data DIR [--models resnet20 resnet8] [--bits 4] [--images 10000] [--out DIR]

DIR holds ``cifar-10-batches-py`` (the public archive) and the models. Each is searched at an average number of
weight bits (activations at 8), constrained on 512 training images, written as JSON, .npz and a C header, read
back, and run on test images; every logit is compared, and the C program (cc -std=c99 -O2 -Wall -Werror) gives
the logits of ten images.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import mpq_plugins as mpq
from mpq_plugins import integers
from mpq_plugins.integers import Program

CALIBRATION = 512
C_IMAGES = 10
HEADINGS = (
    "model",
    "target",
    "bits",
    "images",
    "float %",
    "simulated %",
    "integers %",
    "logits that differ",
    "accumulators",
    "NumPy ms per image",
    "C ms per image",
    "C logits that differ",
    "C codes in memory",
    "header",
)


@dataclass(frozen=True)
class Quantized:
    """A model as integers with what it should give: float and simulated logits, labels, and the images."""

    program: Program
    bits: float
    images: NDArray[np.float32]
    labels: NDArray[np.int64]
    float_logits: NDArray[np.float32]
    simulated: NDArray[np.float32]


def resnet20(data: Path, bits: float, count: int) -> Quantized:
    """The pretrained ResNet-20 of CIFAR-10, in torch."""
    import torch

    import mpq_torch
    from benchmarks.cifar import load_images, load_model
    from mpq_torch import fx

    model = load_model("resnet20", data)
    calibration = load_images(data, train=True)[0][:CALIBRATION].split(128)
    images, labels = load_images(data, train=False)
    images, labels = images[:count], labels[:count]
    recipe = fx.search(model, calibration, "torch-x86", mpq.Budget(average_weight_bits=bits), activation_bits=8)
    on_grid = fx.constrain(model, recipe, calibration)
    simulated = fx.simulate(on_grid, recipe)
    with torch.no_grad():
        reference = torch.cat([model(batch) for batch in images.split(500)])
        wanted = torch.cat([simulated(batch) for batch in images.split(500)])
    program = mpq_torch.integers(on_grid, recipe, images[:2], "resnet20")
    arrays = [tensor.numpy() for tensor in (images, labels, reference, wanted)]
    return Quantized(program, recipe.average_weight_bits, *arrays)


def resnet8(data: Path, bits: float, count: int) -> Quantized:
    """MLPerf Tiny's ResNet8 of CIFAR-10, in Keras; its softmax stays float, so the logits before it are compared."""
    import mpq_tfmot
    from benchmarks.keras_models import resnet8 as load

    task = load(data, CALIBRATION)
    images, labels = task.images[:count], task.labels[:count]
    recipe = mpq_tfmot.search(
        task.model, task.calibration, "litert-po2", mpq.Budget(average_weight_bits=bits), activation_bits=8
    )
    on_grid = mpq_tfmot.constrain(task.model, recipe, task.calibration)
    simulated = mpq_tfmot.simulate(on_grid, recipe)
    (logits,) = (simulated.graph[name].site for name in simulated.graph.integer_outputs)
    batches = [images[start : start + 200] for start in range(0, len(images), 200)]
    wanted = np.concatenate([np.asarray(simulated.sites(batch)[logits]) for batch in batches])
    program = mpq_tfmot.integers(on_grid, recipe, "resnet8")
    reference = task.model.predict(images, 200, verbose=0)
    return Quantized(program, recipe.average_weight_bits, images, labels, reference, wanted)


MODELS: dict[str, Callable[[Path, float, int], Quantized]] = {"resnet20": resnet20, "resnet8": resnet8}


def row(name: str, model: Quantized, folder: Path) -> tuple[str, ...]:
    """Write the program, read it back, run it in NumPy and in C, and compare every logit."""
    integers.save(model.program, folder)
    header, _, main = integers.write_c(model.program, folder)
    program = integers.load(folder)
    codes = integers.input_codes(program, model.images)
    start = time.perf_counter()
    outputs = integers.run(program, codes)
    seconds = time.perf_counter() - start
    (logits,) = integers.output_values(program, outputs).values()
    given = np.concatenate([codes[entrance.tensor].reshape(len(logits), -1) for entrance in program.inputs], 1)
    c_codes, c_seconds = run_c(main, given[:C_IMAGES])
    (wanted,) = outputs.values()
    return (
        name,
        program.target,
        f"{model.bits:.2f}",
        f"{len(logits):,}",
        f"{top1(model.float_logits, model.labels):.2f}",
        f"{top1(model.simulated, model.labels):.2f}",
        f"{top1(logits, model.labels):.2f}",
        f"{int((logits != model.simulated).sum())} of {logits.size:,}",
        f"{program.accumulator_bits} bits",
        f"{1e3 * seconds / len(logits):.1f}",
        f"{1e3 * c_seconds / len(c_codes):.0f}",
        f"{int((c_codes != wanted[: len(c_codes)]).sum())} of {c_codes.size}",
        f"{integers.plan_memory(program).size:,}",
        f"{header.stat().st_size:,} bytes",
    )


def run_c(main: Path, codes: NDArray[np.int32]) -> tuple[NDArray[np.int64], float]:
    """Compile the example program and run it on codes of [samples, elements]; its outputs, and seconds."""
    binary = main.with_name("program")
    flags = ["-std=c99", "-O2", "-Wall", "-Werror"]
    subprocess.run(["gcc", *flags, str(main), "-o", str(binary)], check=True)
    text = "\n".join(" ".join(map(str, row)) for row in codes.tolist())
    start = time.perf_counter()
    printed = subprocess.run([binary], input=text, capture_output=True, text=True, check=True).stdout
    seconds = time.perf_counter() - start
    return np.array([[int(code) for code in line.split()] for line in printed.splitlines()]), seconds


def top1(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Accuracy in per cent."""
    return 100.0 * float(np.mean(logits.argmax(1) == labels))


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one table row per model and number of bits, as each is done."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the archive and the models")
    parser.add_argument("--models", nargs="+", choices=sorted(MODELS), default=list(MODELS))
    parser.add_argument("--bits", nargs="+", type=float, default=[4])
    parser.add_argument("--images", type=int, default=10000, help="run this many test images")
    parser.add_argument("--out", type=Path, help="keep the files here, a folder per model and bits")
    chosen = parser.parse_args(arguments)
    print("| " + " | ".join(HEADINGS) + " |")
    print("|" + "---|" * len(HEADINGS), flush=True)
    for name in chosen.models:
        for bits in chosen.bits:
            model = MODELS[name](chosen.data, bits, chosen.images)
            with tempfile.TemporaryDirectory() as scratch:
                folder = Path(scratch) if chosen.out is None else chosen.out / f"{name}-{bits:g}"
                print("| " + " | ".join(row(name, model, folder)) + " |", flush=True)


if __name__ == "__main__":
    main()

"""Post-training quantization of pretrained Keras models down to LiteRT: accuracy, file bytes, seconds.

    python -m benchmarks.mlperf_tiny_ptq --data DIR [--models resnet8 mobilenet] [--bits 8 6 5 4 3]
        [--weights channel tensor equalized free] [--rounding compensated bias nearest] [--stock]

DIR holds ``cifar-10-batches-py`` (the public archive), ``imagenet-samples`` (images.npy, labels.npy) and the
.h5 models. ResNet8 gets mixed weight bits under a budget (8 is uniform) and is scored on the 10,000
CIFAR-10 test images (and on MLPerf Tiny's ic01, where DIR has its indices); MobileNetV1 gets uniform
bits, and is scored on 500 sample images that it was not calibrated on. Activations have 8 bits. Steps are
powers of two, but for "free": target litert-int8, one free step per channel, 8 bits alone.
``--stock`` adds stock LiteRT post-training int8 and TF-MOT's default 8-bit scheme.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import mpq_plugins as mpq
import mpq_tfmot
from benchmarks.keras_models import TASKS, Task
from mpq_plugins.exporters.litert.running import run_litert
from mpq_plugins.terminal.silence import silenced

WEIGHTS = {
    "channel": "per channel",
    "tensor": "per tensor",
    "equalized": "per tensor, equalized",
    "free": "per channel, free steps",
}
ROUNDINGS = ("compensated", "bias", "nearest")
"""Compensated rounding with bias correction, bias correction alone, neither."""
CALIBRATION = {"resnet8": 512, "mobilenet": 256}
HEADINGS = (
    "model",
    "weights",
    "bits",
    "rounding",
    "float %",
    "simulated %",
    "LiteRT %",
    "as float %",
    "LiteRT = simulation",
    "search s",
    "constrain s",
    "file",
    "bits alone",
)


def rows(
    name: str, task: Task, reference: NDArray[Any], bits: float, weights: str, roundings: Sequence[str]
) -> Iterator[tuple[str, ...]]:
    """Search once; then constrain, convert, verify and score with each kind of rounding.

    weights: "channel", "tensor", "equalized" (one step per tensor after cross-layer equalization) or "free".
    """
    start = time.perf_counter()
    model = mpq_tfmot.equalize(task.model, task.calibration) if weights == "equalized" else task.model
    uniform = name != "resnet8" or bits == 8
    fixed = {"weight_bits": int(bits)} if uniform else {"budget": mpq.Budget(average_weight_bits=bits)}
    target, per_channel = "litert-int8" if weights == "free" else "litert-po2", weights in ("channel", "free")
    recipe = mpq_tfmot.search(model, task.calibration, target, activation_bits=8, per_channel=per_channel, **fixed)
    searched = time.perf_counter() - start
    for rounding in roundings:
        start = time.perf_counter()
        calibration = None if rounding == "nearest" else task.calibration
        on_grid = mpq_tfmot.constrain(model, recipe, calibration, nearest=rounding == "bias")
        constrained = time.perf_counter() - start
        flat = mpq_tfmot.litert.export(on_grid, recipe)
        simulation = mpq_tfmot.simulate(on_grid, recipe)
        simulated = simulation.predict(task.images, 100)
        converted = run_litert(flat, task.images)[0]
        verification = mpq_tfmot.verify(flat, simulation, task.images[:200])
        same = float(np.mean(converted.argmax(1) == simulated.argmax(1)))
        yield (
            name,
            WEIGHTS[weights],
            f"{recipe.average_weight_bits:.2f}",
            rounding,
            task.scores(reference),
            task.scores(simulated),
            task.scores(converted),
            f"{100 * np.mean(simulated.argmax(1) == reference.argmax(1)):.1f}",
            ("exact" if verification.exact else str(verification)) + f", same class on {100 * same:.2f} %",
            f"{searched:.0f}",
            f"{constrained:.0f}",
            f"{len(flat):,}",
            f"{recipe.weight_bytes:,.0f}",
        )


def stock_rows(name: str, task: Task, reference: NDArray[Any]) -> list[tuple[str, ...]]:
    """The two quantizations that exist already: LiteRT's post-training int8, and TF-MOT's default scheme."""
    found = []
    for label, convert in (("LiteRT PTQ int8", _stock_int8), ("TF-MOT default 8-bit", _stock_tfmot)):
        start = time.perf_counter()
        with silenced("stderr"):
            flat = convert(task)
        seconds = time.perf_counter() - start
        outputs = run_litert(flat, task.images)[0]
        agree = 100 * np.mean(outputs.argmax(1) == reference.argmax(1))
        scores = task.scores(reference), "-", task.scores(outputs), f"{agree:.1f}"
        found.append((name, label, "8", "-", *scores, "-", "-", f"{seconds:.0f}", f"{len(flat):,}", "-"))
    return found


def _stock_int8(task: Task) -> bytes:
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_keras_model(task.model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([image[None]] for image in task.calibration)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    return bytes(converter.convert())


def _stock_tfmot(task: Task) -> bytes:
    import tensorflow as tf
    import tensorflow_model_optimization as tfmot

    model = tfmot.quantization.keras.quantize_model(task.model)
    for _ in range(3):  # the default scheme learns its ranges as moving averages while training
        for start in range(0, len(task.calibration), 32):
            model(task.calibration[start : start + 32], training=True)
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    return bytes(converter.convert())


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one table row per model, granularity and bits, as each is done."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True, help="folder of the archives and the models")
    parser.add_argument("--models", nargs="+", choices=sorted(TASKS), default=["resnet8"])
    parser.add_argument("--bits", nargs="+", type=float, default=[8, 6, 5, 4, 3])
    parser.add_argument("--weights", nargs="+", choices=sorted(WEIGHTS), default=["channel"])
    parser.add_argument("--rounding", nargs="+", choices=ROUNDINGS, default=["compensated"])
    parser.add_argument("--stock", action="store_true", help="add stock LiteRT int8 and TF-MOT's default")
    parser.add_argument("--calibration", type=int, help=f"calibration images; by default {CALIBRATION}")
    parser.add_argument("--images", type=int, help="score this many images only")
    chosen = parser.parse_args(arguments)
    print("| " + " | ".join(HEADINGS) + " |")
    print("|" + "---|" * len(HEADINGS), flush=True)
    for name in chosen.models:
        task = TASKS[name](chosen.data, chosen.calibration or CALIBRATION[name])
        if chosen.images:
            task = Task(task.model, task.calibration, task.images[: chosen.images], task.labels[: chosen.images], {})
        reference = task.model.predict(task.images, 100, verbose=0)
        for weights in chosen.weights:
            for bits in [8] if weights == "free" else chosen.bits:
                for cells in rows(name, task, reference, bits, weights, chosen.rounding):
                    print("| " + " | ".join(cells) + " |", flush=True)
        for cells in stock_rows(name, task, reference) if chosen.stock else []:
            print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()

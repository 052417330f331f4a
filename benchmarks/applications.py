"""Networks of tf_keras.applications as integers: what is quantized, whether the .tflite is exact, and seconds.

    python -m benchmarks.applications [--size 64] [--images 8] [NAME ...]

Drawn weights; norms that have seen the images; a search at 8 bits for litert-po2, run on XNNPACK.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

import mpq_tfmot
from mpq_plugins import plugins
from mpq_plugins.graph.sites import take_sites
from mpq_tfmot import litert
from mpq_tfmot.keras import keras
from mpq_tfmot.reader.reading import read_model

NAMES = ("MobileNetV3Small", "MobileNetV3Large", "EfficientNetB0")
TARGET = "litert-po2"
HEADINGS = ("network", "sites", "elements of float weights", "read s", "search s", "export s", "outputs that differ")


def application(name: str, size: int, count: int) -> tuple[Any, Any]:
    """The network, and images of 0 to 255."""
    keras.utils.set_random_seed(0)
    model = getattr(keras.applications, name)(input_shape=(size, size, 3), weights=None, classes=10)
    images = np.random.default_rng(0).uniform(0, 255, (count, size, size, 3)).astype(np.float32)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.0
    model(images, training=True)
    return model, images


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one table row per network, as each is done."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", default=NAMES, metavar="NAME")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--images", type=int, default=8)
    chosen = parser.parse_args(arguments)
    print("| " + " | ".join(HEADINGS) + " |")
    print("|" + "---|" * len(HEADINGS), flush=True)
    for name in chosen.names:
        model, images = application(name, chosen.size, chosen.images)
        times = [time.perf_counter()]
        inventory = take_sites(read_model(model, target=plugins.target(TARGET)).graph).inventory
        times.append(time.perf_counter())
        recipe = mpq_tfmot.search(model, images, TARGET, weight_bits=8, activation_bits=8, progress=False)
        times.append(time.perf_counter())
        content = litert.export(model, recipe)
        times.append(time.perf_counter())
        found = litert.verify(content, model, images, recipe)
        read, search, export = (f"{after - before:.1f}" for before, after in pairwise(times))
        differing = f"{found.mismatched} of {found.elements}"
        floats = sum(inventory.float_weights.values())
        print(f"| {name} | {len(inventory)} | {floats} | {read} | {search} | {export} | {differing} |", flush=True)


if __name__ == "__main__":
    main()

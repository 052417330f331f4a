"""The demo on Keras: train a small network on digits, search, convert to LiteRT, verify."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.commands.digits import AVERAGE_BITS, CALIBRATION_IMAGES, DemoRow, digits
from mpq_plugins.costs.budget import Budget
from mpq_plugins.exporters.litert.running import run_litert
from mpq_plugins.recipe.recipe import Recipe
from mpq_tfmot import litert
from mpq_tfmot.api import constrain, search, simulate
from mpq_tfmot.keras import keras

RUNTIME = "LiteRT (XNNPACK)"
TARGET = "litert-po2"
EPOCHS = 12
BATCH = 32

layers = keras.layers


def convolution(x: Any, channels: int, strides: int = 1, relu: bool = True) -> Any:
    """A 3 x 3 convolution with its batch norm, and a ReLU."""
    x = layers.Conv2D(channels, 3, strides, padding="same", use_bias=False)(x)
    x = layers.BatchNormalization()(x)
    return layers.ReLU()(x) if relu else x


def residual(x: Any, channels: int) -> Any:
    """Two convolutions and the way around them."""
    y = convolution(convolution(x, channels), channels, relu=False)
    return layers.ReLU()(layers.Add()([x, y]))


def network() -> Any:
    """The network of the demo, for images [N, 8, 8, 1]."""
    inputs = keras.Input((8, 8, 1))
    x = residual(convolution(inputs, 16), 16)
    x = residual(convolution(x, 32, strides=2), 32)
    return keras.Model(inputs, layers.Dense(10)(layers.GlobalAveragePooling2D()(x)))


def train(model: Any, images: NDArray[np.float32], labels: NDArray[np.int64]) -> None:
    """A few epochs of Adam with a rate that falls along a cosine."""
    steps = EPOCHS * -(-len(images) // BATCH)
    rate = keras.optimizers.schedules.CosineDecay(1e-2, steps)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(rate), loss)
    model.fit(images, labels, BATCH, EPOCHS, verbose=0)


def run(seed: int = 0) -> Iterator[tuple[DemoRow, Recipe]]:
    """Train once, then quantize at each average bit-width; yields rows as they are done."""
    data = digits()
    images, test_images = data.train_images[..., None], data.test_images[..., None]
    keras.utils.set_random_seed(seed)
    model = network()
    train(model, images, data.train_labels)
    calibration = images[:CALIBRATION_IMAGES]
    float_accuracy = _accuracy(model.predict(test_images, verbose=0), data.test_labels)
    for bits in AVERAGE_BITS:
        start = time.perf_counter()
        budget = Budget(average_weight_bits=bits)
        recipe = search(model, calibration, TARGET, budget, activation_bits=8, progress=False)
        on_grid = constrain(model, recipe, calibration)
        flat = litert.export(on_grid, recipe)
        seconds = time.perf_counter() - start
        simulated = simulate(on_grid, recipe)
        verification = litert.verify(flat, simulated, test_images)
        verification.raise_if_different()
        row = DemoRow(
            recipe.average_weight_bits,
            float_accuracy,
            _accuracy(simulated.predict(test_images), data.test_labels),
            _accuracy(run_litert(flat, test_images)[0], data.test_labels),
            str(verification),
            recipe.weight_bytes,
            4.0 * sum(site.elements for site in recipe.weights),
            seconds,
        )
        yield row, recipe


def _accuracy(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    return 100.0 * float((logits.argmax(1) == labels).mean())

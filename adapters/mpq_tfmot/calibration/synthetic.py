"""Inputs made up from the model itself, for a search without data."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.errors import ModelError
from mpq_plugins.search.synthetic import check_asked, without_norms
from mpq_plugins.terminal.progress import track
from mpq_tfmot.keras import keras, tf
from mpq_tfmot.reader.checking import check_model

CHUNK = 32


def synthetic_inputs(
    model: Any,
    samples: int = 128,
    source: Literal["batch_norm", "noise"] = "batch_norm",
    *,
    steps: int = 100,
    rate: float = 0.1,
    seed: int = 0,
    progress: bool | None = None,
) -> NDArray[np.float32]:
    """Calibration inputs for ``search`` without any data, for a model of one input.

    source: "noise" is standard normal noise; "batch_norm" starts there and moves it, by ``steps`` of Adam at
    ``rate``, to where means and standard deviations in front of every batch norm are those that it has
    seen in training (as ZeroQ does, 2001.00281): the sum over batch norms of
    |mean - mean'|^2 + |std - std'|^2.

    The model is left untouched. Raises ModelError where it has no batch norm, for "batch_norm", where it
    has several inputs, and for a number of samples or steps that is none.
    """
    check_asked(samples, steps, source)
    check_model(model)
    if len(model.inputs) != 1:
        raise ModelError(f"synthetic inputs are made for a model of one input, and this one has {len(model.inputs)}")
    noise = np.random.default_rng(seed).normal(size=(samples, *model.inputs[0].shape[1:])).astype(np.float32)
    if source == "noise":
        return noise
    norms = [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization)]
    reached = [layer for layer in norms if layer in model.layers]
    if not reached:
        raise without_norms(" (outside of nested models)")
    probe = keras.Model(model.inputs, [layer.input for layer in reached])
    starts = range(0, samples, CHUNK)
    parts = [
        _moved(probe, reached, noise[s : s + CHUNK], steps, rate) for s in track(starts, "making inputs", progress)
    ]
    return np.concatenate(parts)


def _moved(probe: Any, norms: list[Any], batch: NDArray[np.float32], steps: int, rate: float) -> NDArray[np.float32]:
    x = tf.Variable(batch)
    optimizer = keras.optimizers.legacy.Adam(rate)

    @tf.function  # type: ignore[untyped-decorator]
    def step() -> None:
        with tf.GradientTape() as tape:
            values = probe(x, training=False)
            distance = 0.0
            for norm, value in zip(norms, values if isinstance(values, list) else [values], strict=True):
                axes = list(range(len(value.shape) - 1))
                mean, spread = tf.reduce_mean(value, axes), tf.sqrt(tf.math.reduce_variance(value, axes) + norm.epsilon)
                wanted = tf.sqrt(norm.moving_variance + norm.epsilon)
                distance += tf.reduce_sum((mean - norm.moving_mean) ** 2) + tf.reduce_sum((spread - wanted) ** 2)
        optimizer.apply_gradients([(tape.gradient(distance, x), x)])

    for _ in range(steps):
        step()
    return np.asarray(x.numpy())

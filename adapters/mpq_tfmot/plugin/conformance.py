"""What the conformance kit asks of TensorFlow: see mpq_plugins.testing.framework_arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.testing.framework_arrays import Function, Numbers
from mpq_tfmot import demo
from mpq_tfmot.array_ops.ops import OPS
from mpq_tfmot.keras import keras, tf
from mpq_tfmot.runner.tensorflow_runner import TensorflowRunner

__all__ = ["OPS", "RUNNER", "SPELLINGS", "TARGET", "gradients", "network", "spelled", "tensor"]

TARGET = demo.TARGET
RUNNER = TensorflowRunner()
SPELLINGS = "keras"
SAMPLES = 32


def tensor(values: Any) -> Any:
    """A float32 tensor."""
    return tf.constant(np.asarray(values, np.float32))


def gradients(function: Function, inputs: Mapping[str, NDArray[Any]]) -> tuple[Numbers, Numbers]:
    """By a gradient tape; zeros where the scalar does not depend on an input."""
    leaves = {name: tensor(value) for name, value in inputs.items()}
    with tf.GradientTape() as tape:
        tape.watch(list(leaves.values()))
        scalar, results = function(leaves)
    found = {name: np.zeros(leaf.shape, np.float32) for name, leaf in leaves.items()}
    if tf.is_tensor(scalar):
        zero = tf.UnconnectedGradients.ZERO
        found = {name: np.asarray(g) for name, g in tape.gradient(scalar, leaves, unconnected_gradients=zero).items()}
    return found, {name: np.asarray(value) for name, value in results.items()}


def spelled(spelling: str) -> None:
    """Keras' spellings are names of functions and layers, which mean something in a model alone."""


def network(seed: int) -> tuple[Any, NDArray[np.float32]]:
    """The demo's network, with weights from the seed, and images for it; Keras numbers its layers from one again."""
    keras.backend.reset_uids()  # names of layers are names of sites, and count on from network to network
    random = np.random.default_rng(seed)
    model = demo.network()
    for layer in model.layers:
        values = layer.get_weights()
        if values and values[0].ndim > 1:
            scale = np.sqrt(2.0 / np.prod(values[0].shape[:-1]))
            values[0] = (random.standard_normal(values[0].shape) * scale).astype(np.float32)
            layer.set_weights(values)
    return model, random.random((SAMPLES, 8, 8, 1)).astype(np.float32)

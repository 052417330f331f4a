"""The Keras networks of the oracle, with weights and inputs from NumPy's generator."""

from __future__ import annotations

import zlib

import numpy as np

from integration_tests.oracle import values
from integration_tests.oracle.keras_networks.blocks import BLOCKS
from integration_tests.oracle.keras_networks.layers import LAYERS
from mpq_tfmot.keras import keras

NETWORKS = {make.__name__: make for make in [*BLOCKS, *LAYERS]}

ROUNDED = list(NETWORKS)
"""The networks that are constrained with data."""


def build(name):
    """The network of a name; its inputs, and calibration data, as lists of arrays."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    keras.backend.reset_uids()  # names of operators are counted
    model = NETWORKS[name]()
    fill(model, rng)
    shapes = [tuple(tensor.shape[1:]) for tensor in model.inputs]
    inputs, calibration = ([make(rng, shape) for shape in shapes] for make in (values.inputs, values.calibration))
    return model, inputs, calibration


def fill(model, rng):
    """Give every weight and every statistic of a model a value."""
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization):
            scale, shift, mean, variance = values.norm(rng, layer.moving_mean.shape[0])
            kept = ([scale] if layer.scale else []) + ([shift] if layer.center else [])
            layer.set_weights([*kept, mean, variance])
        elif layer.weights and not isinstance(layer, keras.Model):
            layer.set_weights([_filled(variable, rng) for variable in layer.weights])


def _filled(variable, rng):
    shape = tuple(variable.shape)
    if len(shape) == 1:
        return values.bias(rng, shape)
    transposed = "transpose" in variable.name
    channels = shape[-2] if transposed or "depthwise" in variable.name else shape[-1]
    return values.weight(rng, shape, channels)

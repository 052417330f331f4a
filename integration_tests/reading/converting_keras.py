"""A Keras model through all verbs, to the file and its simulation."""

import numpy as np
import pytest

import mpq_plugins as mpq
import mpq_tfmot
from mpq_tfmot.keras import keras

layers = keras.layers


X = np.random.default_rng(1).normal(size=(16, 9, 9, 3)).astype(np.float32)


def exact(model, x=X, keep_float=()):
    """The constrained model and its recipe, after the proof that the file computes its simulation."""
    recipe = mpq_tfmot.search(
        model, x, "litert-po2", weight_bits=8, activation_bits=8, keep_float=keep_float, progress=False
    )
    for calibration in (x, None):
        on_grid = mpq_tfmot.constrain(model, recipe, calibration)
        flat = mpq_tfmot.to_litert(on_grid, recipe)
        mpq_tfmot.verify(flat, mpq_tfmot.simulate(on_grid, recipe), x).raise_if_different()
    return on_grid, recipe


def error_of(model, on_grid, recipe, x):
    """The root mean square of what the simulation lacks to the model's outputs, as a fraction of theirs."""
    wanted, got = np.asarray(model(x, training=False)), mpq_tfmot.simulate(on_grid, recipe).predict(x)
    return float(np.sqrt(np.mean((wanted - got) ** 2) / np.mean(wanted**2)))


def behind(function, shape=(9, 9, 3), last=None):
    """A convolution, a function of its output, and a layer."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input(shape, name="image")
    return keras.Model(inputs, (last or layers.Conv2D(2, 1))(function(layers.Conv2D(4, 3)(inputs))))


def refused(model, target, x=X, **options):
    with pytest.raises(mpq.UnsupportedOp) as caught:
        mpq_tfmot.search(model, x, target, weight_bits=8, activation_bits=8, progress=False, **options)
    return caught.value

"""What the training tests share: a small network on digits, quantized by a method, and trained for a few steps."""

from __future__ import annotations

import tensorflow_model_optimization as tfmot

from mpq_plugins.commands.digits import digits
from mpq_tfmot import QuantizeScheme, quantize_scope
from mpq_tfmot.keras import keras

layers = keras.layers
SEARCHES = ("fdqmp", "hmq", "sdq")
FOLLOWS = ("msqe", "po2_gradient")
BATCH = 16


def network(seed=0):
    """A convolution with its batch norm and ReLU, and a dense layer, for digits."""
    keras.utils.set_random_seed(seed)
    x = inputs = keras.Input((8, 8, 1), name="image")
    x = layers.Conv2D(4, 3, 2, padding="same", use_bias=False, name="conv")(x)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.ReLU(name="relu")(x)
    return keras.Model(inputs, layers.Dense(10, name="fc")(layers.Flatten(name="flat")(x)))


def data(steps):
    """Images and labels for so many training steps."""
    found = digits()
    return found.train_images[: steps * BATCH, ..., None], found.train_labels[: steps * BATCH]


def quantized(method, weight_bits, model=None, **options):
    """The network under a method of training, compiled."""
    scheme = QuantizeScheme(method=method, weight_bits=weight_bits, **options)
    with quantize_scope():
        annotated = tfmot.quantization.keras.quantize_annotate_model(model or network())
        made = tfmot.quantization.keras.quantize_apply(annotated, scheme)
    return compiled(made)


def compiled(model, rate=0.05, run_eagerly=True, **options):
    """The model with a loss and plain SGD; eager, since a trace takes longer than the few steps of a test."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(rate), loss, run_eagerly=run_eagerly, **options)
    return model


def fit(model, steps, callback=None, start=0, epochs=1, **options):
    """Train for so many steps, in the order of the data, from step ``start`` on."""
    images, labels = data(start + steps)
    first = start * BATCH
    callbacks = [] if callback is None else [callback]
    return model.fit(images[first:], labels[first:], BATCH, epochs, 0, callbacks, shuffle=False, **options)

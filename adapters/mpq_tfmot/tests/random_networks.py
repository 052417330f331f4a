"""Keras networks drawn at random from what has an integer form, for statements about all of them."""

from __future__ import annotations

import numpy as np

from mpq_tfmot.keras import keras
from mpq_tfmot.tests.networks import settled

layers = keras.layers


def random_network(seed, length=7):
    """A chain of ``length`` layers drawn by a seed, some of which read earlier results again, and a dense end."""
    rng = np.random.default_rng(seed)
    inputs = keras.Input((9, 8, 3), name="image")
    kept = [layers.Conv2D(6, 3, padding="same", name="first")(inputs)]
    for index in range(length):
        name = f"{rng.choice(list(LAYERS))}"
        y = LAYERS[name](rng, kept, f"{name}{index}")
        if y is not None and min(y.shape[1:3]) > 0 and max(y.shape[1:3]) < 24:
            kept.append(y)
    end = [layers.GlobalAveragePooling2D(name="mean"), layers.Flatten(name="flat")][int(rng.integers(2))]
    return settled(keras.Model(inputs, layers.Dense(4, name="fc")(end(kept[-1]))), seed)


def _pick(rng, *choices):
    return choices[int(rng.integers(len(choices)))]


def _side(rng):
    return _pick(rng, "same", "valid")


def _conv(rng, kept, name):
    dilation = _pick(rng, 1, 1, 2)
    stride = 1 if dilation > 1 else _pick(rng, 1, (2, 1))
    activation = _pick(rng, None, "relu", "tanh", "swish", "sigmoid")
    size, padding = (_pick(rng, 1, 2, 3), _pick(rng, 1, 3)), _pick(rng, "same", "same", "valid")
    if padding == "valid" and min(kept[-1].shape[1:3]) < 6:
        padding = "same"
    return layers.Conv2D(
        int(rng.integers(2, 8)), size, stride, padding, dilation_rate=dilation, activation=activation, name=name
    )(kept[-1])


def _depthwise(rng, kept, name):
    return layers.DepthwiseConv2D(3, _pick(rng, 1, 2), "same", name=name)(kept[-1])


def _transposed(rng, kept, name):
    size, stride = _pick(rng, 2, 3, (3, 2)), _pick(rng, 1, 2, (1, 3))
    return layers.Conv2DTranspose(int(rng.integers(2, 6)), size, stride, _side(rng), name=name)(kept[-1])


def _pool(rng, kept, name):
    kind = _pick(rng, layers.MaxPooling2D, layers.AveragePooling2D)
    return kind(_pick(rng, 2, 3), _pick(rng, 1, 2), "same", name=name)(kept[-1])


def _clamp(rng, kept, name):
    return layers.ReLU(_pick(rng, None, 6.0, 0.7), name=name)(kept[-1])


def _function(rng, kept, name):
    kind = _pick(
        rng, layers.LeakyReLU(name=name), layers.Activation("gelu", name=name), layers.ReLU(2.0, 0.1, 0.3, name=name)
    )
    return kind(kept[-1])


def _add(rng, kept, name):
    alike = [y for y in kept if y.shape == kept[-1].shape]
    return layers.Add(name=name)([kept[-1], alike[int(rng.integers(len(alike)))]])


def _concat(rng, kept, name):
    alike = [y for y in kept if y.shape[:3] == kept[-1].shape[:3] and y.shape[-1] < 12]
    return layers.Concatenate(name=name)([kept[-1], alike[int(rng.integers(len(alike)))]]) if alike else None


def _twice(rng, kept, name):
    layer = layers.Conv2D(kept[-1].shape[-1], 3, padding="same", name=name)
    return layer(layers.ReLU(name=f"{name}_relu")(layer(kept[-1])))


def _move(rng, kept, name):
    return _pick(
        rng,
        layers.ZeroPadding2D(((1, 0), (0, 2)), name=name),
        layers.UpSampling2D((2, 1), name=name),
        layers.Permute((2, 1, 3), name=name),
    )(kept[-1])


LAYERS = {
    "conv": _conv, "depthwise": _depthwise, "transposed": _transposed, "pool": _pool, "clamp": _clamp,
    "function": _function, "add": _add, "concat": _concat, "twice": _twice, "move": _move,
}  # fmt: skip

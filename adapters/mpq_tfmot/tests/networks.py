"""Small Keras networks for the tests, one for each thing that real models do."""

from __future__ import annotations

from functools import cache

import numpy as np

from mpq_tfmot.keras import keras

layers = keras.layers


def settled(model, seed=0):
    """The model with weights of its own in every layer, batch norms included."""
    rng = np.random.default_rng(seed)
    for layer in model._flatten_layers():
        if isinstance(layer, layers.BatchNormalization):
            shape = layer.gamma.shape
            layer.set_weights(
                [
                    rng.uniform(0.5, 1.5, shape),
                    rng.normal(0, 0.2, shape),
                    rng.normal(0, 0.2, shape),
                    rng.uniform(0.5, 1.5, shape),
                ]
            )
        elif getattr(layer, "bias", None) is not None:
            layer.bias.assign(rng.normal(0, 0.1, layer.bias.shape))
            for kernel in layer.weights[:-1]:
                kernel.assign(rng.normal(0, (2.0 / max(1, np.prod(kernel.shape[:-1]))) ** 0.5, kernel.shape))
        elif layer.weights and not isinstance(layer, keras.Model):
            for kernel in layer.weights:
                fan_in = np.prod(kernel.shape[:2]) if "depthwise" in kernel.name else np.prod(kernel.shape[:-1])
                kernel.assign(rng.normal(0, (2.0 / fan_in) ** 0.5, kernel.shape))
    return model


def samples(model, count=8, seed=1):
    """Random inputs for a model of one input."""
    return np.random.default_rng(seed).normal(size=(count, *model.input_shape[1:])).astype(np.float32)


def residual():
    """Convolutions, batch norms, a residual add, pooling, a dense softmax."""
    x = inputs = keras.Input((9, 9, 3), name="image")
    x = layers.Conv2D(8, 3, padding="same", use_bias=False, name="conv1")(x)
    x = layers.BatchNormalization(name="bn1")(x)
    x = shortcut = layers.ReLU(name="relu1")(x)
    x = layers.Conv2D(8, 3, padding="same", name="conv2")(x)
    x = layers.BatchNormalization(name="bn2")(x)
    x = layers.Add(name="add")([x, shortcut])
    x = layers.Activation("relu", name="relu2")(x)
    x = layers.AveragePooling2D(3, name="pool")(x)
    x = layers.Flatten(name="flatten")(x)
    return settled(keras.Model(inputs, layers.Dense(5, activation="softmax", name="fc")(x)))


def mobile():
    """Depthwise convolutions, ReLU6, hard-swish, a linear bottleneck with a residual, global pooling."""
    x = inputs = keras.Input((8, 8, 3), name="image")
    x = layers.ZeroPadding2D(((0, 1), (0, 1)), name="pad")(x)
    x = layers.Conv2D(8, 3, 2, use_bias=False, name="stem")(x)
    x = layers.BatchNormalization(name="stem_bn")(x)
    x = shortcut = layers.Activation(hard_swish, name="stem_swish")(x)
    x = layers.Conv2D(16, 1, use_bias=False, name="expand")(x)
    x = layers.BatchNormalization(name="expand_bn")(x)
    x = layers.ReLU(6.0, name="expand_relu")(x)
    x = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="depthwise")(x)
    x = layers.BatchNormalization(name="depthwise_bn")(x)
    x = layers.ReLU(6.0, name="depthwise_relu")(x)
    x = layers.Conv2D(8, 1, use_bias=False, name="project")(x)
    x = layers.BatchNormalization(name="project_bn")(x)
    x = layers.Add(name="add")([shortcut, x])
    x = layers.GlobalAveragePooling2D(name="mean")(x)
    x = layers.Dropout(0.2, name="drop")(x)
    return settled(keras.Model(inputs, layers.Dense(4, name="fc")(x)))


def hard_swish(x):
    """Hard-swish as a user writes it."""
    return x * keras.activations.relu(x + 3.0, max_value=6.0) / 6.0


def branches():
    """A ReLU layer used twice, a concat, max pooling, a second batch norm, a separable and a transposed convolution."""
    inputs = keras.Input((8, 8, 2), name="image")
    relu = layers.ReLU(name="relu")
    a = relu(layers.Conv2D(4, 1, name="a")(inputs))
    b = relu(layers.Conv2D(4, 3, padding="same", name="b")(inputs))
    x = layers.Concatenate(name="cat")([a, b])
    x = layers.MaxPooling2D(2, name="pool")(x)
    x = layers.BatchNormalization(name="norm")(x)
    x = layers.SeparableConv2D(6, 3, padding="same", activation="relu", name="separable")(x)
    x = layers.UpSampling2D(2, name="up")(x)
    x = layers.Conv2DTranspose(3, 3, 2, padding="same", name="transposed")(x)
    x = layers.AveragePooling2D(4, padding="same", strides=3, name="average")(x)
    x = layers.Permute((3, 1, 2), name="permute")(x)
    x = layers.Reshape((-1,), name="flat")(x)
    return settled(keras.Model(inputs, layers.Dense(3, activation="sigmoid", name="fc")(x)))


def series():
    """One-dimensional convolutions and pooling."""
    return settled(
        keras.Sequential(
            [
                keras.Input((16, 3), name="signal"),
                layers.Conv1D(8, 3, padding="same", activation="relu", name="conv"),
                layers.MaxPooling1D(2, name="pool"),
                layers.DepthwiseConv1D(3, padding="same", name="depthwise"),
                layers.AveragePooling1D(2, name="average"),
                layers.GlobalAveragePooling1D(name="mean"),
                layers.Dense(4, name="fc"),
            ]
        )
    )


def nested():
    """A model inside a model, and swish and tanh as functions of an element."""
    block_in = keras.Input((6, 6, 4), name="block_in")
    y = layers.Conv2D(4, 3, padding="same", activation="swish", name="conv")(block_in)
    block = keras.Model(block_in, layers.Add(name="add")([y, block_in]), name="block")
    inputs = keras.Input((6, 6, 2), name="image")
    x = block(layers.Conv2D(4, 1, activation="tanh", name="stem")(inputs))
    x = layers.Flatten(name="flat")(x)
    return settled(keras.Model(inputs, layers.Dense(3, name="fc")(x)))


def gated():
    """Swish, squeeze-and-excite, a product with a ReLU behind it, and a square."""
    inputs = keras.Input((8, 8, 3), name="image")
    x = layers.Conv2D(8, 3, 2, padding="same", activation="swish", name="stem")(inputs)
    scale = layers.GlobalAveragePooling2D(keepdims=True, name="scale")(x)
    scale = layers.Conv2D(4, 1, activation="relu", name="squeeze")(scale)
    scale = layers.Conv2D(8, 1, activation="sigmoid", name="excite")(scale)
    x = layers.Multiply(name="gate")([x, scale])
    y = layers.Conv2D(8, 3, padding="same", name="conv")(x)
    y = layers.ReLU(name="rectified")(layers.Multiply(name="product")([y, x]))
    y = layers.Multiply(name="square")([y, y])
    y = layers.GlobalAveragePooling2D(name="mean")(y)
    return settled(keras.Model(inputs, layers.Dense(4, name="fc")(y)))


def scaled():
    """Rescales and normalizes inside; constants before, behind and between layers; differences, averages and a hard
    swish by hand."""
    inputs = keras.Input((8, 8, 3), name="image")
    x = layers.Rescaling(0.5, offset=-0.25, name="rescaling")(inputs)
    x = layers.Normalization(mean=[0.1, -0.2, 0.3], variance=[0.25, 0.5, 1.5], name="normalization")(x)
    x = layers.Conv2D(8, 3, 2, padding="same", use_bias=False, name="stem")(x) * 0.7
    x = layers.BatchNormalization(name="bn")(x)
    x = layers.ReLU(name="relu")(x) * 1.5
    x = layers.Multiply(name="swish")([x, layers.ReLU(6.0, name="relu6")(x + 3.0) * (1.0 / 6.0)])
    y = layers.Conv2D(8, 3, padding="same", name="wide")(x)
    z = layers.Conv2D(8, 1, name="narrow")(0.75 - y)
    z = layers.Subtract(name="sub")([x, z])
    z = layers.Average(name="average")([z, x, y])
    z = layers.Add(name="three")([z / 2.0 - 0.125, x, y])
    z = layers.GlobalAveragePooling2D(name="mean")(z)
    z = layers.Dense(6, activation="relu", name="hidden")(-z)
    return settled(keras.Model(inputs, layers.Dense(4, name="fc")(z / 3.0) * 2.0))


NETWORKS = {
    "residual": residual,
    "mobile": mobile,
    "branches": branches,
    "series": series,
    "nested": nested,
    "gated": gated,
    "scaled": scaled,
}


@cache
def network(kind):
    """The network of NETWORKS for tests that leave it as it is: Keras takes longer to build one than to convert it."""
    return NETWORKS[kind]()

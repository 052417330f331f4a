"""The ResNet and the mobile network of networks.py in Keras, layer names and weights included."""

from __future__ import annotations

import numpy as np

from mpq_tfmot.keras import keras

layers = keras.layers


def normed(x, name, outputs, kernel, stride=1):
    """A convolution and its batch norm; strides padded on both sides, as torch does."""
    if stride > 1 and kernel > 1:
        x = layers.ZeroPadding2D(kernel // 2, name=f"{name}.pad")(x)
    padding = "valid" if stride > 1 else "same"
    x = layers.Conv2D(outputs, kernel, stride, padding=padding, use_bias=False, name=f"{name}.0")(x)
    return layers.BatchNormalization(epsilon=1e-5, name=f"{name}.1")(x)


def block(x, name, inputs, outputs, stride):
    """ResNet's block; channels are padded between two changes of the order of axes."""
    y = layers.ReLU(name=f"{name}.relu")(normed(x, f"{name}.conv1", outputs, 3, stride))
    y = normed(y, f"{name}.conv2", outputs, 3)
    if stride > 1:
        extra = (outputs - inputs) // 2
        x = layers.MaxPooling2D(1, stride, name=f"{name}.getitem")(x)
        x = layers.Permute((3, 1, 2), name=f"{name}.there")(x)
        x = layers.ZeroPadding2D(((extra, extra), (0, 0)), name=f"{name}.pad")(x)
        x = layers.Permute((2, 3, 1), name=f"{name}.back")(x)
    return layers.ReLU(name=f"{name}.relu_1")(layers.Add(name=f"{name}.add")([y, x]))


def resnet(widths=(8, 16, 24), blocks=1, size=16, stem="stem.0"):
    """A ResNet of three layers of blocks."""
    inputs = keras.Input((size, size, 3), name="x")
    x = layers.ReLU(name="relu")(normed(inputs, "stem", widths[0], 3))
    before = widths[0]
    for index, width in enumerate(widths, start=1):
        for number in range(blocks):
            name = f"layer{index}" if blocks == 1 else f"layer{index}.{number}"
            stride = 2 if number == 0 and index > 1 else 1
            x = block(x, name, before, width, stride)
            before = width
    x = layers.AveragePooling2D(size // 4, name="avg_pool2d")(x)
    x = layers.Flatten(name="flatten")(x)
    return keras.Model(inputs, layers.Dense(10, name="linear")(x))


def take_weights(model, other):
    """Give the Keras twin the weights of the torch model, by name."""
    state = {name: value.detach().numpy() for name, value in other.state_dict().items()}
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.set_weights([state[f"{layer.name}.{p}"] for p in ("weight", "bias", "running_mean", "running_var")])
        elif isinstance(layer, layers.DepthwiseConv2D):
            layer.set_weights([state[f"{layer.name}.weight"].transpose(2, 3, 0, 1)])
        elif isinstance(layer, layers.Conv2D):
            bias = [state[f"{layer.name}.bias"]] if layer.use_bias else []
            layer.set_weights([state[f"{layer.name}.weight"].transpose(2, 3, 1, 0), *bias])
        elif isinstance(layer, layers.Dense):
            layer.set_weights([state[f"{layer.name}.weight"].T, state[f"{layer.name}.bias"]])
    return model


def flattening(count):
    """Convolutions whose images are flattened in front of a linear; its columns are those of channels first."""
    inputs = keras.Input((10, 9, 3), name="x")
    x = layers.Conv2D(8, 3, name="a", activation="relu")(inputs)
    x = layers.Permute((3, 1, 2), name="first")(layers.MaxPooling2D(2, name="max_pool2d")(x))
    return keras.Model(inputs, layers.Dense(count, name="b")(layers.Flatten(name="flatten")(x)))


def as_array(x):
    """torch's images as Keras takes them."""
    return np.ascontiguousarray(x.numpy().transpose(0, 2, 3, 1))

"""Small networks in Keras of every kind that people quantize: vision, detection, segmentation, restoration."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

layers = keras.layers
Kind = tuple[Any, Any]
"""A network, and what it is called with: an array, or a list of arrays."""
DATA = Path(os.environ.get("MPQ_ZOO_DATA", "data"))
"""Where MLPerf Tiny's files lie; --data says it to the processes of a run."""


def normal(*shape: int) -> Any:
    """Drawn numbers."""
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def conv(x: Any, outputs: int, kernel: int = 3, strides: int = 1, activation: Any = "relu", **options: Any) -> Any:
    """A convolution that keeps the size, its norm and its activation."""
    x = layers.Conv2D(outputs, kernel, strides, "same", use_bias=False, **options)(x)
    return layers.Activation(activation)(layers.BatchNormalization()(x))


def images(function: Any, size: int = 32, channels: int = 3) -> Kind:
    """A network of images."""
    inputs = keras.Input((size, size, channels), name="image")
    return keras.Model(inputs, function(inputs)), normal(4, size, size, channels)


def _unet(x: Any, up: Any) -> Any:
    skip = conv(x, 8)
    low = up(conv(layers.MaxPooling2D()(skip), 16))
    return layers.Conv2D(2, 1)(conv(layers.Concatenate()([skip, low]), 8))


def unet_transposed() -> Kind:
    return images(lambda x: _unet(x, layers.Conv2DTranspose(8, 3, 2, "same")))


def unet_bilinear() -> Kind:
    return images(lambda x: _unet(x, layers.UpSampling2D(interpolation="bilinear")))


def unet_resized_by_function() -> Kind:
    return images(lambda x: _unet(x, lambda y: tf.image.resize(y, (32, 32), "bilinear")))


def _c2f(x: Any, channels: int, split: Any) -> Any:
    parts = list(split(conv(x, channels, 1, activation="swish")))
    for _ in range(2):
        parts.append(conv(parts[-1], channels // 2, activation="swish"))
    return conv(layers.Concatenate()(parts), channels, 1, activation="swish")


def _yolo(x: Any, split: Any) -> Any:
    large = _c2f(conv(x, 8, 3, 2, "swish"), 8, split)
    small = _c2f(conv(large, 16, 3, 2, "swish"), 16, split)
    neck = _c2f(layers.Concatenate()([large, layers.UpSampling2D()(small)]), 24, split)
    return [layers.Conv2D(7, 1)(neck), layers.Conv2D(7, 1)(small)]


def yolo_split() -> Kind:
    return images(lambda x: _yolo(x, lambda y: tf.split(y, 2, -1)))


def yolo_sliced_and_decode() -> Kind:
    def run(x: Any) -> Any:
        found = _yolo(x, lambda y: (y[..., : y.shape[-1] // 2], y[..., y.shape[-1] // 2 :]))
        flat = tf.concat([layers.Reshape((-1, 7))(y) for y in found], 1)
        center, size, classes = tf.split(flat, [2, 2, 3], -1)
        return tf.concat([center - size / 2.0, center + size / 2.0, tf.sigmoid(classes)], -1)

    return images(run)


def yolov4_tiny() -> Kind:
    def leaky(x: Any) -> Any:
        return tf.nn.leaky_relu(x, 0.1)

    def cross(x: Any, channels: int) -> Any:
        x = conv(x, channels, activation=leaky)
        a = conv(tf.split(x, 2, -1)[1], channels // 2, activation=leaky)
        b = conv(a, channels // 2, activation=leaky)
        joined = conv(tf.concat([b, a], -1), channels, 1, activation=leaky)
        return joined, layers.MaxPooling2D(2, 2, "same")(tf.concat([x, joined], -1))

    def run(x: Any) -> Any:
        _, x = cross(conv(conv(x, 8, 3, 2, leaky), 16, 3, 2, leaky), 16)
        route, x = cross(x, 32)
        low = conv(x, 32, activation=leaky)
        up = layers.UpSampling2D()(conv(low, 16, 1, activation=leaky))
        return [layers.Conv2D(21, 1)(low), layers.Conv2D(21, 1)(conv(tf.concat([up, route], -1), 32))]

    return images(run, 64)


def squeezenext() -> Kind:
    def block(x: Any, outputs: int, stride: int) -> Any:
        half, short = x.shape[-1] // 2, x
        y = conv(conv(x, half, 1, stride), half // 2, 1)
        y = conv(conv(conv(y, half, (1, 3)), half, (3, 1)), outputs, 1)
        short = x if stride == 1 and x.shape[-1] == outputs else conv(x, outputs, 1, stride)
        return layers.ReLU()(layers.Add()([y, short]))

    def run(x: Any) -> Any:
        x = layers.MaxPooling2D(3, 2, "same")(conv(x, 16, 7, 2))
        return layers.Dense(10)(layers.GlobalAveragePooling2D()(block(block(x, 16, 1), 32, 2)))

    return images(run)


def _of_file(name: str, *shape: int) -> Kind:
    return keras.models.load_model(DATA / name, compile=False), normal(4, *shape)


def mlperf_resnet8() -> Kind:
    return _of_file("mlperf_tiny_resnet8.h5", 32, 32, 3)


def mlperf_visual_wake_words() -> Kind:
    return _of_file("vww_96.h5", 96, 96, 3)


def mlperf_anomaly_detection() -> Kind:
    return _of_file("ad01.h5", 640)


def squeeze_excite() -> Kind:
    def run(x: Any) -> Any:
        y = conv(x, 16)
        gate = layers.Dense(16, "sigmoid")(layers.Dense(4, "relu")(layers.GlobalAveragePooling2D()(y)))
        return layers.Dense(5)(
            layers.GlobalAveragePooling2D()(layers.Multiply()([y, layers.Reshape((1, 1, 16))(gate)]))
        )

    return images(run)


def espcn() -> Kind:
    def run(x: Any) -> Any:
        y = layers.Conv2D(8, 3, padding="same", activation="tanh")(layers.Conv2D(16, 5, padding="same")(x))
        return tf.nn.depth_to_space(layers.Conv2D(4, 3, padding="same")(y), 2)

    return images(run, 16, 1)


def edsr() -> Kind:
    def run(x: Any) -> Any:
        y = first = layers.Conv2D(16, 3, padding="same")(x)
        for _ in range(2):
            z = layers.Conv2D(16, 3, padding="same")(layers.Conv2D(16, 3, padding="same", activation="relu")(y))
            y = layers.Add()([y, layers.Lambda(lambda t: t * 0.1)(z)])
        y = layers.Conv2D(64, 3, padding="same")(layers.Add()([y, first]))
        return layers.Conv2D(3, 3, padding="same")(layers.Lambda(lambda t: tf.nn.depth_to_space(t, 2))(y))

    return images(run, 16)


def mtcnn() -> Kind:
    def run(x: Any) -> Any:
        y = layers.PReLU(shared_axes=[1, 2])(layers.Conv2D(10, 3)(x))
        y = layers.PReLU(shared_axes=[1, 2])(layers.Conv2D(16, 3)(layers.MaxPooling2D(2, 2, "same")(y)))
        return [layers.Conv2D(2, 1, activation="softmax")(y), layers.Conv2D(4, 1)(y)]

    return images(run, 25)


def prelu_of_every_element() -> Kind:
    def run(x: Any) -> Any:
        y = layers.PReLU("random_uniform")(layers.Conv2D(4, 3, 2)(x))
        return layers.Dense(3)(layers.Flatten()(y))

    return images(run, 12)


def transposed_with_output_padding() -> Kind:
    def run(x: Any) -> Any:
        y = layers.Conv2DTranspose(8, 3, 2, "same", output_padding=1, activation="relu")(conv(x, 8, 3, 2))
        return layers.Conv2DTranspose(3, 3, padding="same", dilation_rate=2)(y)

    return images(run, 16)


def preprocessing() -> Kind:
    def run(x: Any) -> Any:
        x = layers.RandomRotation(0.1)(layers.RandomFlip("horizontal")(layers.Resizing(24, 24)(x)))
        x = layers.Normalization(mean=[0.485, 0.456, 0.4], variance=[0.05, 0.05, 0.06])(layers.Rescaling(1 / 255.0)(x))
        return layers.Dense(4)(layers.GlobalMaxPooling2D()(conv(x, 8)))

    model, x = images(run)
    return model, np.abs(x) * 60


def group_norm() -> Kind:
    return images(lambda x: layers.Conv2D(4, 3)(layers.ReLU()(layers.GroupNormalization(4)(layers.Conv2D(8, 3)(x)))))


def batch_norm_of_rows() -> Kind:
    return images(lambda x: layers.Conv2D(4, 3)(layers.BatchNormalization(axis=1)(layers.Conv2D(8, 3)(x))), 12)


VISION = (
    *(unet_transposed, unet_bilinear, unet_resized_by_function, yolo_split, yolo_sliced_and_decode, yolov4_tiny),
    *(squeezenext, mlperf_resnet8, mlperf_visual_wake_words, mlperf_anomaly_detection, squeeze_excite, espcn, edsr),
    *(mtcnn, prelu_of_every_element, transposed_with_output_padding, preprocessing, group_norm, batch_norm_of_rows),
)

"""Small Keras models that move elements between their layers, in the ways that networks do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mpq_tfmot.keras import keras, tf
from mpq_tfmot.tests.networks import settled

layers = keras.layers


def _swapped(x: Any) -> Any:
    first, second = tf.split(x, [3, 5], axis=-1)
    return tf.concat([second, first], -1)


def _unstacked(x: Any) -> Any:
    rows = tf.unstack(x, axis=1)
    return tf.stack([rows[3], rows[0], rows[-1]], 1)


MOVES: dict[str, Callable[[Any], Any]] = {
    "sliced": lambda x: x[:, 1:-1, ::3, 2:6],
    "one_row": lambda x: tf.expand_dims(x[:, 2], 1),
    "split": _swapped,
    "unstacked": _unstacked,
    "strided": lambda x: tf.strided_slice(x, [0, 5, 1, 0], [0, 0, 9, 8], [1, -2, 2, 1], begin_mask=1, end_mask=1),
    "transposed": lambda x: tf.transpose(x, (0, 2, 1, 3)),
    "reshaped": lambda x: tf.reshape(x, (-1, 9, 6, 8)),
    "reflected": lambda x: tf.pad(x, [[0, 0], [2, 1], [0, 3], [0, 0]], "REFLECT"),
    "mirrored": lambda x: tf.pad(x, [[0, 0], [2, 1], [0, 3], [0, 0]], "SYMMETRIC"),
    "zeros_around": lambda x: tf.pad(x, [[0, 0], [1, 0], [0, 2], [0, 0]]),
    "into_space": lambda x: tf.nn.depth_to_space(x, 2),
    "into_depth": lambda x: tf.nn.space_to_depth(x[:, :, :8], 2),
    "rolled": lambda x: tf.roll(x, [2, -1], [1, 2]),
    "reversed": lambda x: tf.reverse(x, [1]),
    "tiled": lambda x: tf.tile(x, (1, 1, 2, 1)),
    "cropped": lambda x: layers.Cropping2D(((1, 0), (2, 3)), name="crop")(x),
    "cropped_series": lambda x: layers.Reshape((1, 51, 8))(layers.Cropping1D((1, 2))(layers.Reshape((54, 8))(x))),
    "repeated_features": lambda x: layers.Reshape((3, 54, 8))(layers.RepeatVector(3)(layers.Flatten()(x))),
}


COMPOSED: dict[str, Callable[[Any], Any]] = {
    "mean over channels": lambda x: tf.reduce_mean(x, -1, keepdims=True),
    "mean over columns": lambda x: tf.reduce_mean(x, 2, keepdims=True),
    "sum": lambda x: tf.reduce_sum(x, [1, 2], keepdims=True),
    "largest": lambda x: tf.reduce_max(x, 2, keepdims=True),
    "smallest": lambda x: tf.reduce_min(x, -1, keepdims=True),
    "largest of images": lambda x: layers.Reshape((1, 1, 8))(layers.GlobalMaxPooling2D()(x)),
    "largest of series": lambda x: layers.Reshape((1, 1, 8))(layers.GlobalMaxPooling1D()(layers.Reshape((54, 8))(x))),
    "larger": lambda x: layers.Maximum()([x, tf.tanh(x), 0.5 - x]),
    "smaller": lambda x: tf.minimum(x, tf.reduce_mean(x, [1, 2], keepdims=True)),
    "twice as large": lambda x: layers.UpSampling2D(2, interpolation="bilinear")(x),
    "larger by areas": lambda x: tf.image.resize(x, (13, 5)),
    "resized": lambda x: layers.Resizing(12, 18)(x),
    "by channel": lambda x: layers.PReLU(alpha_initializer="he_normal", shared_axes=[1, 2])(x),
    "of one slope": lambda x: layers.PReLU(shared_axes=[1, 2, 3])(x),
    "in groups": lambda x: layers.Conv2D(6, (2, 3), (2, 1), "same", groups=2)(x),
    "multiplied": lambda x: layers.DepthwiseConv2D((3, 2), depth_multiplier=3)(x),
    "series of twice the length": lambda x: layers.Reshape((54, 2, 4))(
        layers.Conv1DTranspose(4, 3, 2, "same", activation="relu")(layers.Reshape((54, 8))(x))
    ),
    "gated by channel": lambda x: layers.Multiply()([x, layers.GlobalAveragePooling2D()(x)]),
    "at least": lambda x: tf.maximum(x, 0.2),
    "between": lambda x: tf.clip_by_value(x, -0.3, 0.4),
}
"""Functions that are several kernels, or none of their own."""


def moved(name: str) -> Any:
    """A convolution, a move of what it gives, and a convolution over that."""
    inputs = keras.Input((6, 9, 3), name="image")
    x = {**MOVES, **COMPOSED}[name](
        layers.Conv2D(8, 1, activation="relu" if name in MOVES else None, name="first")(inputs)
    )
    return settled(keras.Model(inputs, layers.Conv2D(4, 1, name="last")(x)))

"""Functions of TensorFlow, by symbol, that are several others: what they are in those."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mpq_plugins.graph.windows import same_padding
from mpq_tfmot.keras import tf

GRAY = (0.2989, 0.5870, 0.1140)


def _crelu(features: Any, name: Any = None, axis: int = -1) -> Any:
    return tf.nn.relu(tf.concat([features, -features], axis))


def _gray(images: Any, name: Any = None) -> Any:
    return tf.matmul(images, tf.constant(np.reshape(GRAY, (3, 1)), tf.float32))


def _norm(
    tensor: Any, ord: Any = "euclidean", axis: Any = None, keepdims: Any = None, name: Any = None, **more: Any
) -> Any:
    if ord not in ("euclidean", 2) or axis is None or any(value is not None for value in more.values()):
        raise NotImplementedError
    return tf.sqrt(tf.reduce_sum(tensor * tensor, axis, keepdims=bool(keepdims)))


def _pool(pool: Any) -> Callable[..., Any]:
    def of_signal(
        input: Any, ksize: Any, strides: Any, padding: str, data_format: str = "NWC", name: Any = None
    ) -> Any:
        kernel, stride = (int(np.ravel(sizes)[len(np.ravel(sizes)) // 2]) for sizes in (ksize, strides))
        if data_format != "NWC":
            raise NotImplementedError
        return tf.squeeze(pool(tf.expand_dims(input, 1), (1, kernel), (1, stride), padding), 1)

    return of_signal


def _separable(
    input: Any,
    depthwise_filter: Any,
    pointwise_filter: Any,
    strides: Any,
    padding: Any,
    rate: Any = None,
    name: Any = None,
    data_format: Any = None,
    dilations: Any = None,
) -> Any:
    rates = rate if dilations is None else dilations
    middle = tf.nn.depthwise_conv2d(input, depthwise_filter, strides, padding, data_format, rates)
    return tf.nn.conv2d(middle, pointwise_filter, 1, "VALID")


def _central(image: Any, central_fraction: float) -> Any:
    rows, columns = int(image.shape[1]), int(image.shape[2])
    first, left = (int((size - size * central_fraction) / 2) for size in (rows, columns))
    return image[:, first : rows - first, left : columns - left]


def _padded(image: Any, offset_height: int, offset_width: int, target_height: int, target_width: int) -> Any:
    rows, columns = int(image.shape[1]), int(image.shape[2])
    below, right = target_height - offset_height - rows, target_width - offset_width - columns
    return tf.pad(image, [[0, 0], [offset_height, below], [offset_width, right], [0, 0]])


def _standardized(image: Any) -> Any:
    axes = list(range(1, len(image.shape)))
    count = float(np.prod([int(size) for size in image.shape[1:]]))
    centered = image - tf.reduce_mean(image, axes, keepdims=True)
    spread = tf.sqrt(tf.reduce_mean(centered * centered, axes, keepdims=True))
    return centered / tf.maximum(spread, float(count**-0.5))


def _patches(images: Any, sizes: Any, strides: Any, rates: Any, padding: str, name: Any = None) -> Any:
    kernel, stride, rate = (list(map(int, each[1:3])) for each in (sizes, strides, rates))
    sides = [(0, 0), (0, 0)]
    if padding.upper() == "SAME":
        inside = [int(size) for size in images.shape[1:3]]
        sides = [same_padding(*each) for each in zip(inside, kernel, stride, rate, strict=True)]
        images = tf.pad(images, [(0, 0), *sides, (0, 0)])
    reach = [r * (k - 1) + 1 for k, r in zip(kernel, rate, strict=True)]
    lasts = [(int(n) - r) // s * s + 1 for n, r, s in zip(images.shape[1:3], reach, stride, strict=True)]
    taps = [(row * rate[0], column * rate[1]) for row in range(kernel[0]) for column in range(kernel[1])]
    ends = [(row + lasts[0], column + lasts[1]) for row, column in taps]
    both = zip(taps, ends, strict=True)
    return tf.concat([images[:, a : c : stride[0], b : d : stride[1]] for (a, b), (c, d) in both], -1)


def _turned(a: Any, name: Any = None, conjugate: bool = False) -> Any:
    rank = len(a.shape)
    if rank < 3:
        raise NotImplementedError
    return tf.transpose(a, [*range(rank - 2), rank - 1, rank - 2])


def _dropout(x: Any, rate: Any, *more: Any, **others: Any) -> Any:
    if rate:
        raise NotImplementedError
    return tf.identity(x)


OPENED: Mapping[str, Callable[..., Any]] = {
    "linalg.matrix_transpose": _turned,
    "image.flip_left_right": lambda image: tf.reverse(image, [2]),
    "image.flip_up_down": lambda image: tf.reverse(image, [1]),
    "image.transpose": lambda image, name=None: tf.transpose(image, [0, 2, 1, 3]),
    "image.central_crop": _central,
    "image.pad_to_bounding_box": _padded,
    "image.adjust_brightness": lambda image, delta: image + float(delta),
    "image.extract_patches": _patches,
    "image.per_image_standardization": _standardized,
    "image.rgb_to_grayscale": _gray,
    "nn.avg_pool1d": _pool(tf.nn.avg_pool2d),
    "nn.max_pool1d": _pool(tf.nn.max_pool2d),
    "nn.crelu": _crelu,
    "nn.dropout": _dropout,
    "nn.silu": lambda features, beta=1.0: features * tf.sigmoid(features * float(beta)),
    "nn.separable_conv2d": _separable,
    "norm": _norm,
}

"""TensorFlow's functions of images that are several other functions: what they are in those."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mpq_plugins.graph.windows import same_padding
from mpq_tfmot.keras import tf

GRAY = (0.2989, 0.5870, 0.1140)


def _gray(images: Any, name: Any = None) -> Any:
    return tf.matmul(images, tf.constant(np.reshape(GRAY, (3, 1)), tf.float32))


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


def _boxed(image: Any, offset_height: int, offset_width: int, target_height: int, target_width: int) -> Any:
    below, right = offset_height + target_height, offset_width + target_width
    return image[:, offset_height:below, offset_width:right]


def _cropped_or_padded(image: Any, target_height: int, target_width: int) -> Any:
    wanted = (int(target_height), int(target_width))
    missing = [size - int(inside) for size, inside in zip(wanted, image.shape[1:3], strict=True)]
    first = [max(-more // 2, 0) for more in missing]
    least = [min(size, int(inside)) for size, inside in zip(wanted, image.shape[1:3], strict=True)]
    above, left = (max(more // 2, 0) for more in missing)
    return _padded(_boxed(image, first[0], first[1], least[0], least[1]), above, left, *wanted)


def _resized_and_padded(
    image: Any, target_height: int, target_width: int, method: Any = "bilinear", antialias: bool = False
) -> Any:
    wanted = np.array([target_height, target_width], np.float32)  # as TensorFlow divides, by which it rounds down
    inside = np.array([int(size) for size in image.shape[1:3]], np.float32)
    sizes = inside / np.max(inside / wanted)
    first = np.maximum(0, np.floor((wanted - sizes) / 2)).astype(int)
    resized = tf.image.resize(image, np.floor(sizes).astype(int).tolist(), method, antialias=antialias)
    return _padded(resized, *map(int, first), *map(int, wanted))


def _rotated(image: Any, k: int = 1, name: Any = None) -> Any:
    turns = int(k) % 4
    if turns % 2 == 0:
        return tf.reverse(image, [1, 2]) if turns else tf.identity(image)
    if turns == 1:
        return tf.transpose(tf.reverse(image, [2]), [0, 2, 1, 3])
    return tf.reverse(tf.transpose(image, [0, 2, 1, 3]), [2])


def _contrasted(images: Any, contrast_factor: Any) -> Any:
    means = tf.reduce_mean(images, [1, 2], keepdims=True)
    return (images - means) * float(contrast_factor) + means


def _colours(function: Callable[..., Any]) -> Callable[..., Any]:
    """A linear function of the three channels of each place."""

    def converted(images: Any) -> Any:
        matrix = tf.reshape(function(tf.reshape(tf.eye(3), (1, 1, 3, 3))), (3, 3))
        return tf.matmul(images, matrix)

    return converted


OPENED: Mapping[str, Callable[..., Any]] = {
    "image.adjust_brightness": lambda image, delta: image + float(delta),
    "image.adjust_contrast": _contrasted,
    "image.central_crop": _central,
    "image.crop_to_bounding_box": _boxed,
    "image.extract_patches": _patches,
    "image.flip_left_right": lambda image: tf.reverse(image, [2]),
    "image.flip_up_down": lambda image: tf.reverse(image, [1]),
    "image.grayscale_to_rgb": lambda images, name=None: tf.concat([images] * 3, -1),
    "image.pad_to_bounding_box": _padded,
    "image.per_image_standardization": _standardized,
    "image.resize_with_crop_or_pad": _cropped_or_padded,
    "image.resize_with_pad": _resized_and_padded,
    "image.rgb_to_grayscale": _gray,
    "image.rot90": _rotated,
    "image.transpose": lambda image, name=None: tf.transpose(image, [0, 2, 1, 3]),
    **{
        f"image.{name}": _colours(getattr(tf.image, name))
        for name in ("rgb_to_yuv", "yuv_to_rgb", "rgb_to_yiq", "yiq_to_rgb")
    },
}
"""By symbol."""

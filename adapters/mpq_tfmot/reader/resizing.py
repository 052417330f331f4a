"""Interpolation in Keras and TensorFlow: the nearest element, and all that is a weighted sum along each axis."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.graph.composing import Composing
from mpq_plugins.graph.interpolation import weights_along
from mpq_plugins.graph.moving import Part, size_of
from mpq_plugins.graph.node import Array, Shape
from mpq_tfmot.keras import tf

Resize = Callable[[Composing, list[Part], Any, Shape], "Part | None"]


def _resized(made: Composing, x: Part, out: Shape, compute: Callable[[Any], Any]) -> Part | None:
    """The image at another size; None for what is no weighted sum along rows and columns.

    compute: the resizing itself, of images of any number of rows and columns.
    """
    found = {axis: _weights(x, axis, out[axis], compute) for axis in (1, 2)}
    weights = {axis: matrix for axis, matrix in found.items() if matrix is not None}
    if len(weights) < len(found):
        return None
    sources = {axis: np.argmax(matrix, 1) for axis, matrix in weights.items()}
    chosen = all(np.array_equal(m, np.eye(size_of(x, axis))[sources[axis]]) for axis, m in weights.items())
    if not chosen:
        return made.resized(x, weights)
    times = {axis: max(len(source) // size_of(x, axis), 1) for axis, source in sources.items()}
    repeated = all(np.array_equal(s, np.arange(len(s)) // times[axis]) for axis, s in sources.items())
    if repeated:
        return made.repeated(x, times)
    for axis, source in sources.items():
        x = made.pick(x, axis, source.tolist())
    return x


def _weights(x: Part, axis: int, out: Any, compute: Callable[[Any], Any]) -> Array | None:
    """The weight of each element of an axis in each of the output, [out, in]; None where that has another size."""

    def resize(images: NDArray[np.float32]) -> NDArray[Any]:
        return np.asarray(compute(tf.constant(images[..., None])))[..., 0]

    found = weights_along([size_of(x, 1), size_of(x, 2)], axis - 1, resize)
    return found if len(found) == out else None


def _layer(made: Composing, parts: list[Part], layer: Any, shape: Shape) -> Part | None:
    """Resizing, and UpSampling2D that interpolates."""
    if getattr(layer, "data_format", "channels_last") != "channels_last":
        return None
    if getattr(layer, "crop_to_aspect_ratio", False):
        return None
    return _resized(made, parts[0], shape, layer.call)


def _function(function: Callable[..., Any]) -> Resize:
    """tf.image.resize and the like, to sizes that are numbers."""

    def rule(made: Composing, parts: list[Part], given: Mapping[str, Any], shape: Shape) -> Part | None:
        plain = {name: value for name, value in given.items() if name not in ("images", "name", "index")}
        if len(parts) != 1 or plain.get("preserve_aspect_ratio"):
            return None
        return _resized(made, parts[0], shape, lambda image: function(image, **plain))

    return rule


LAYERS: Mapping[str, Resize] = {"Resizing": _layer, "UpSampling2D": _layer}
FUNCTIONS: Mapping[str, Resize] = {
    "image.resize": _function(tf.image.resize),
    **{
        f"image.resize_{how}": _function(getattr(tf.compat.v1.image, f"resize_{how}"))
        for how in ("bilinear", "nearest_neighbor", "bicubic", "area")
    },
}
"""By TensorFlow's symbol."""

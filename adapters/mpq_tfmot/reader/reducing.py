"""Means, sums, maxima and minima in Keras and TensorFlow: over axes, and of several activations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mpq_plugins.graph.moving import Part
from mpq_plugins.graph.node import Shape
from mpq_plugins.graph.reducing import Reducing

Reduce = Callable[[Reducing, list[Part], Any, Shape], "Part | None"]


def _over_axes(reduce: Any) -> Reduce:
    """tf.reduce_mean and the like, over axes that are named."""

    def rule(made: Reducing, parts: list[Part], given: Mapping[str, Any], shape: Shape) -> Part | None:
        if given["axis"] is None or len(parts) != 1:
            return None
        axes = {int(axis) % len(parts[0].shape) for axis in np.atleast_1d(given["axis"])}
        return None if 0 in axes else reduce(made, parts[0], axes, bool(given["keepdims"]))

    return rule


def _global(reduce: Any) -> Reduce:
    """GlobalMaxPooling1D, 2D and 3D."""

    def rule(made: Reducing, parts: list[Part], layer: Any, shape: Shape) -> Part:
        (x,) = parts
        reduced: Part = reduce(made, x, range(1, len(x.shape) - 1), bool(layer.keepdims))
        return reduced

    return rule


def _of_several(pairwise: Any) -> Reduce:
    """Maximum and Minimum layers, and tf.maximum and tf.minimum of tensors."""

    def rule(made: Reducing, parts: list[Part], given: Any, shape: Shape) -> Part | None:
        alike = len({len(part.shape) for part in parts}) == 1 and len(parts) > 1
        return pairwise(made, parts) if alike else None

    return rule


LAYERS: Mapping[str, Reduce] = {
    **dict.fromkeys(["GlobalMaxPooling1D", "GlobalMaxPooling2D", "GlobalMaxPooling3D"], _global(Reducing.largest)),
    "Maximum": _of_several(Reducing.larger),
    "Minimum": _of_several(Reducing.smaller),
}
FUNCTIONS: Mapping[str, Reduce] = {
    "math.reduce_mean": _over_axes(Reducing.mean),
    "math.reduce_sum": _over_axes(Reducing.total),
    "math.reduce_variance": _over_axes(Reducing.variance),
    "math.reduce_std": _over_axes(Reducing.deviation),
    "math.reduce_max": _over_axes(Reducing.largest),
    "math.reduce_min": _over_axes(Reducing.smallest),
    "math.maximum": _of_several(Reducing.larger),
    "math.minimum": _of_several(Reducing.smaller),
}
"""By TensorFlow's symbol."""

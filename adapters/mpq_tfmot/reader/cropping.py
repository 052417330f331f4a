"""Keras' layers that cut an image to the shape of another and resize it, where they do: outside of training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mpq_tfmot.keras import keras, tf


def covering(layer: Any, image: Any) -> Callable[[Any], Any] | None:
    """Resizing that keeps the sides' ratio, RandomCrop, and CenterCrop of what is smaller; None of another."""
    wanted, inside = (int(layer.height), int(layer.width)), image.shape[1:3]
    if len(image.shape) != 4 or None in inside:
        return None
    resizes = isinstance(layer, keras.layers.Resizing)
    cuts = isinstance(layer, keras.layers.CenterCrop) and all(n >= m for n, m in zip(inside, wanted, strict=True))
    if cuts or (resizes and not layer.crop_to_aspect_ratio):
        return None
    method = layer.interpolation if resizes else "bilinear"
    starts, sizes = _part((int(inside[0]), int(inside[1])), wanted)
    return lambda x: tf.image.resize(
        x[:, starts[0] : starts[0] + sizes[0], starts[1] : starts[1] + sizes[1]], wanted, method
    )


def _part(inside: tuple[int, int], wanted: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Where the largest part of the wanted shape begins, and its sizes, rounded as Keras rounds them."""
    ratios = [np.float32(inside[1 - side] * wanted[side]) / np.float32(wanted[1 - side]) for side in (0, 1)]
    rows, columns = (min(inside[side], int(ratios[side])) for side in (0, 1))
    return ((inside[0] - rows) // 2, (inside[1] - columns) // 2), (rows, columns)

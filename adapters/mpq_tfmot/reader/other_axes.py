"""Keras' norms and functions over other axes than the last: those are brought to the end, and back."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from mpq_tfmot.keras import keras, tf


def over_joined(axes: Any, function: Callable[[Any], Any]) -> Callable[[Any], Any] | None:
    """A function along the last axis, over several axes, which are joined; None over one.

    function: of a tensor.
    """
    if not isinstance(axes, (list, tuple)) or len(axes) < 2:
        return None

    def joined(x: Any) -> Any:
        own, order = _order(axes, len(x.shape))
        sizes = [int(x.shape[axis]) for axis in order[1:]]
        outer = sizes[: len(sizes) - len(own)]
        flat = tf.reshape(tf.transpose(x, order), (-1, *outer, math.prod(sizes[len(outer) :])))
        return _back(tf.reshape(function(flat), (-1, *sizes)), order)

    return joined


def normed(layer: Any) -> Callable[[Any], Any] | None:
    """LayerNormalization and GroupNormalization; None over the last axes."""
    rank = len(layer.input_shape)
    own, order = _order(layer.axis if isinstance(layer.axis, (list, tuple)) else [layer.axis], rank)
    if order == list(range(rank)) or 0 in own:
        return None
    axis = list(range(rank - len(own), rank)) if isinstance(layer, keras.layers.LayerNormalization) else -1
    at_end = type(layer).from_config({**layer.get_config(), "axis": axis, "name": "normed"})
    at_end.build((None, *(layer.input_shape[other] for other in order[1:])))
    at_end.set_weights(
        [np.reshape(held, new.shape) for held, new in zip(layer.get_weights(), at_end.weights, strict=True)]
    )
    return lambda x: _back(at_end(tf.transpose(x, order)), order)


def _order(axes: Any, rank: int) -> tuple[list[int], list[int]]:
    """The axes, and all with them at the end."""
    own = sorted(int(axis) % rank for axis in axes)
    return own, [*(axis for axis in range(rank) if axis not in own), *own]


def _back(x: Any, order: list[int]) -> Any:
    return tf.transpose(x, [order.index(axis) for axis in range(len(order))])

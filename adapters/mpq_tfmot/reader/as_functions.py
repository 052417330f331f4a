"""Layers of Keras that are several functions of TensorFlow: attention by sums, Dot of any tensors, softmax of axes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from mpq_tfmot.keras import keras, tf

LETTERS = "cdefghijklm"


def as_functions(layer: Any, tensors: Any) -> Callable[[Any], Any] | None:
    """What a layer computes; None of one whose class has a rule of its own."""
    kind = type(layer)
    if kind in (keras.layers.AdditiveAttention, keras.layers.Attention):
        return _adding(layer, tensors)
    if kind is keras.layers.Softmax and isinstance(layer.axis, (list, tuple)) and len(layer.axis) > 1:
        return _softmax(layer.axis)
    return _dot(layer, tensors) if kind is keras.layers.Dot else None


def _softmax(axes: Any) -> Callable[[Any], Any]:
    """Over several axes, which are brought to the end and joined."""

    def joined(x: Any) -> Any:
        rank = len(x.shape)
        own = [int(axis) % rank for axis in axes]
        order = [*(axis for axis in range(rank) if axis not in own), *own]
        sizes = [int(x.shape[axis]) for axis in order[1:]]
        flat = tf.reshape(tf.transpose(x, order), (-1, *sizes[: rank - 1 - len(own)], math.prod(sizes[-len(own) :])))
        back = tf.reshape(tf.nn.softmax(flat), (-1, *sizes))
        return tf.transpose(back, [order.index(axis) for axis in range(rank)])

    return joined


def _dot(layer: Any, tensors: Any) -> Callable[[Any], Any] | None:
    """Dot of tensors, along one axis of each; None of plain matrices."""
    ranks = [len(tensor.shape) for tensor in tensors]
    axes = layer.axes if isinstance(layer.axes, (list, tuple)) else [layer.axes] * 2
    axes = [int(axis) % rank for axis, rank in zip(axes, ranks, strict=True)]
    if 0 in axes or (ranks == [3, 3] and not layer.normalize):
        return None
    terms = [LETTERS[: ranks[0] - 1], LETTERS[ranks[0] : sum(ranks) - 1]]
    terms = ["b" + term[: axis - 1] + "a" + term[axis:] for term, axis in zip(terms, axes, strict=True)]
    out = "b" + "".join(term[1:].replace("a", "") for term in terms)

    def product(given: Any) -> Any:
        x, y = given
        if layer.normalize:
            x, y = tf.math.l2_normalize(x, axes[0]), tf.math.l2_normalize(y, axes[1])
        if ranks == [2, 2]:
            return tf.reduce_sum(x * y, 1, keepdims=True)
        return tf.einsum(f"{terms[0]},{terms[1]}->{out}", x, y)

    return product


def _adding(layer: Any, tensors: Any) -> Callable[[Any], Any] | None:
    """Attention on [query, value] or [query, value, key]; None of one by products."""
    products = type(layer) is keras.layers.Attention and layer.score_mode != "concat"
    if products or any(len(tensor.shape) != 3 for tensor in tensors):
        return None

    def attended(given: Any) -> Any:
        query, value, *keys = given
        key = keys[0] if keys else value
        inner, outer = 1.0, layer.scale
        if type(layer) is keras.layers.Attention:
            inner, outer = layer.scale, layer.concat_score_weight
        sums = query[:, :, None] + key[:, None]
        waves = tf.tanh(sums if inner is None else sums * inner)
        width = int(query.shape[-1])
        weight = tf.ones((width, 1)) * (1.0 if outer is None else tf.reshape(outer, (-1, 1)))
        scores = tf.reshape(tf.matmul(waves, weight), (-1, *sums.shape[1:3]))
        return tf.matmul(tf.nn.softmax(scores), value)

    return attended

"""Layers of Keras that are several functions of TensorFlow: attention by sums, Dot of any tensors, and others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mpq_tfmot.keras import keras, tf
from mpq_tfmot.reader.cropping import covering
from mpq_tfmot.reader.other_axes import normed, over_joined

LETTERS = "cdefghijklm"


def as_functions(layer: Any, tensors: Any) -> Callable[[Any], Any] | None:
    """What a layer computes; None of one whose class has a rule of its own."""
    kind = type(layer)
    if kind in (keras.layers.AdditiveAttention, keras.layers.Attention):
        return _adding(layer, tensors)
    if kind in _ALONE:
        return _ALONE[kind](layer, tensors)
    if kind in (keras.layers.LayerNormalization, keras.layers.GroupNormalization):
        return normed(layer)
    return _dot(layer, tensors) if kind is keras.layers.Dot else None


def _softmax(layer: Any, x: Any) -> Callable[[Any], Any] | None:
    return over_joined(layer.axis, tf.nn.softmax)


def _unit_norm(layer: Any, x: Any) -> Callable[[Any], Any] | None:
    return over_joined(layer.axis, lambda joined: tf.math.l2_normalize(joined, -1))


def _masked(layer: Any, x: Any) -> Callable[[Any], Any]:
    """What is nothing but the value that stands for nothing becomes zero."""
    value = float(layer.mask_value)
    if not value:
        return lambda x: tf.identity(x)
    return lambda x: x * tf.cast(tf.reduce_any(tf.not_equal(x, value), -1, keepdims=True), x.dtype)


def _encoded(layer: Any, x: Any) -> Callable[[Any], Any] | None:
    """CategoryEncoding: rows of a unit matrix, by whole numbers, joined over those of a sample."""
    if layer.sparse or len(x.shape) != 2 or layer.output_mode not in _OVER_NUMBERS:
        return None
    if layer.output_mode == "one_hot" and x.shape[1] != 1:
        return None
    rows = keras.layers.Embedding(layer.num_tokens, layer.num_tokens, name="rows")
    rows.build(None)
    rows.set_weights([np.eye(layer.num_tokens)])
    return lambda x: _OVER_NUMBERS[layer.output_mode](rows(x), 1)


_OVER_NUMBERS: Mapping[str, Callable[[Any, int], Any]] = {
    "one_hot": tf.squeeze,
    "multi_hot": tf.reduce_max,
    "count": tf.reduce_sum,
}
_ALONE: Mapping[type, Callable[[Any, Any], Callable[[Any], Any] | None]] = {
    keras.layers.Softmax: _softmax,
    keras.layers.UnitNormalization: _unit_norm,
    keras.layers.Masking: _masked,
    keras.layers.CategoryEncoding: _encoded,
    keras.layers.Resizing: covering,
    keras.layers.CenterCrop: covering,
    keras.layers.RandomCrop: covering,
}
"""Layers of one tensor: what they compute, or None where a rule of their own says it."""


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

"""What Keras' MultiHeadAttention computes between its dense layers, as a layer of its own."""

from __future__ import annotations

from typing import Any

import numpy as np

from mpq_tfmot.keras import keras, tf

HIDES = -1e9
"""What Keras adds to the scores that a mask hides."""


@keras.utils.register_keras_serializable(package="mpq")
class HeadsAttention(keras.layers.Layer):  # type: ignore[misc]
    """softmax(scale * q k^T) v of all heads, in float. Called on [q, k, v], each [batch, steps, heads * features], and
    a mask that the model computes, [batch, heads or 1, steps of q, steps of k], if there is one.

    seen: which elements of k each of q sees, [steps of q, steps of k] or with the heads in front; None for all.
    """

    def __init__(self, heads: int, scale: float, seen: Any = None, **options: Any) -> None:
        super().__init__(**options)
        self.heads, self.scale = heads, scale
        self.seen = None if seen is None else np.asarray(seen, bool)

    def call(self, tensors: Any) -> Any:
        q, k, v = (self._split(x) for x in tensors[:3])
        products = tf.matmul(q, k, transpose_b=True) * self.scale
        if self.seen is not None:
            products = tf.where(self.seen, products, products.dtype.min)
        for mask in tensors[3:]:
            products += (1.0 - tf.cast(mask, products.dtype)) * HIDES
        y = tf.transpose(tf.matmul(tf.nn.softmax(products), v), [0, 2, 1, 3])
        return tf.reshape(y, [-1, y.shape[1], self.heads * v.shape[-1]])

    def get_config(self) -> dict[str, Any]:
        seen = None if self.seen is None else self.seen.tolist()
        return {**super().get_config(), "heads": self.heads, "scale": self.scale, "seen": seen}

    def _split(self, x: Any) -> Any:
        return tf.transpose(tf.reshape(x, [-1, x.shape[1], self.heads, x.shape[-1] // self.heads]), [0, 2, 1, 3])

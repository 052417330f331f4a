"""What Keras' MultiHeadAttention computes between its dense layers, as a layer of its own."""

from __future__ import annotations

from typing import Any

from mpq_tfmot.keras import keras, tf


@keras.utils.register_keras_serializable(package="mpq")
class HeadsAttention(keras.layers.Layer):  # type: ignore[misc]
    """softmax(scale * q k^T) v of all heads, in float. Called on [q, k, v], each [batch, steps, heads * features].

    causal: whether an element of q sees those of k up to its own place only.
    """

    def __init__(self, heads: int, scale: float, causal: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.heads, self.scale, self.causal = heads, scale, causal

    def call(self, tensors: Any) -> Any:
        q, k, v = (self._split(x) for x in tensors)
        products = tf.matmul(q, k, transpose_b=True) * self.scale
        if self.causal:
            seen = tf.linalg.band_part(tf.ones_like(products[:1, :1]), -1, 0)
            products = tf.where(seen > 0, products, products.dtype.min)
        y = tf.transpose(tf.matmul(tf.nn.softmax(products), v), [0, 2, 1, 3])
        return tf.reshape(y, [-1, y.shape[1], self.heads * v.shape[-1]])

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "heads": self.heads, "scale": self.scale, "causal": self.causal}

    def _split(self, x: Any) -> Any:
        return tf.transpose(tf.reshape(x, [-1, x.shape[1], self.heads, x.shape[-1] // self.heads]), [0, 2, 1, 3])

"""Small networks in Keras of every kind that people quantize: sequences, autoencoders, and ways to write a model."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

from benchmarks.zoo.keras_kinds import Kind, conv, images, layers, normal


def series(function: Any, steps: int = 12, features: int = 8) -> Kind:
    """A network of steps of features."""
    inputs = keras.Input((steps, features), name="series")
    return keras.Model(inputs, function(inputs)), normal(4, steps, features)


def ds_cnn() -> Kind:
    inputs = keras.Input((49, 10, 1))
    x = layers.Conv2D(16, (10, 4), 2, "same", activation="relu")(inputs)
    for _ in range(3):
        x = layers.ReLU()(layers.BatchNormalization()(layers.DepthwiseConv2D(3, padding="same")(x)))
        x = layers.ReLU()(layers.BatchNormalization()(layers.Conv2D(16, 1)(x)))
    x = layers.Flatten()(layers.AveragePooling2D((25, 5))(layers.Dropout(0.2)(x)))
    return keras.Model(inputs, layers.Dense(12, "softmax")(x)), normal(4, 49, 10, 1)


def tcn() -> Kind:
    def run(x: Any) -> Any:
        x = layers.Conv1D(16, 1)(x)
        for dilation in (1, 2, 4):
            y = layers.Conv1D(16, 3, padding="causal", dilation_rate=dilation, activation="relu")(x)
            y = layers.SpatialDropout1D(0.1)(layers.Conv1D(16, 3, padding="causal", dilation_rate=dilation)(y))
            x = layers.ReLU()(layers.Add()([x, y]))
        return layers.Dense(5)(layers.Lambda(lambda t: t[:, -1])(x))

    return series(run)


def crnn() -> Kind:
    def run(x: Any) -> Any:
        y = layers.MaxPooling2D((4, 1))(conv(layers.MaxPooling2D()(conv(x, 8)), 16))
        y = layers.Reshape((8, 32))(layers.Permute((2, 1, 3))(y))
        return layers.Dense(11, "softmax")(layers.Bidirectional(layers.LSTM(8, return_sequences=True))(y))

    return images(run, 16, 1)


def lstm() -> Kind:
    return series(
        lambda x: layers.Dense(4)(layers.LSTM(10)(layers.LSTM(10, return_sequences=True)(layers.Dense(8)(x))))
    )


def gru() -> Kind:
    return series(lambda x: layers.Dense(4)(layers.GRU(10)(layers.Dense(8, "relu")(x))))


def tied_autoencoder() -> Kind:
    class Tied(layers.Layer):  # type: ignore[misc]
        """The encoder's kernel, turned."""

        def __init__(self, encoder: Any, **options: Any) -> None:
            super().__init__(**options)
            self.encoder = encoder

        def call(self, x: Any) -> Any:
            return tf.matmul(x, self.encoder.kernel, transpose_b=True)

    inputs, encoder = keras.Input((24,)), layers.Dense(8, "relu")
    return keras.Model(inputs, Tied(encoder)(encoder(inputs))), normal(16, 24)


def crepe() -> Kind:
    def run(x: Any) -> Any:
        for filters, kernel, stride in ((16, 64, 4), (8, 16, 1), (8, 16, 1)):
            x = layers.BatchNormalization()(
                layers.Conv2D(filters, (kernel, 1), (stride, 1), "same", activation="relu")(x)
            )
            x = layers.MaxPooling2D((2, 1))(x)
        return layers.Dense(36, "sigmoid")(layers.Flatten()(layers.Permute((2, 1, 3))(x)))

    inputs = keras.Input((256,))
    return keras.Model(inputs, run(layers.Reshape((256, 1, 1))(inputs))), normal(4, 256)


def text_cnn() -> Kind:
    tokens = keras.Input((10,), dtype="int32")
    x = layers.Embedding(50, 12)(tokens)
    found = [layers.GlobalMaxPooling1D()(layers.Conv1D(6, size, activation="relu")(x)) for size in (2, 3, 4)]
    data = np.random.default_rng(0).integers(0, 50, (8, 10)).astype(np.int32)
    return keras.Model(tokens, layers.Dense(3)(layers.Concatenate()(found))), data


def transformer_encoder() -> Kind:
    def run(x: Any) -> Any:
        x = layers.Dense(16)(x)
        x = layers.LayerNormalization()(x + layers.MultiHeadAttention(4, 4)(x, x))
        return layers.Dense(4)(layers.LayerNormalization()(x + layers.Dense(16)(layers.Dense(32, "gelu")(x))))

    return series(run, 6, 8)


def attention_layer() -> Kind:
    def run(x: Any) -> Any:
        q, k = layers.Conv1D(8, 3, padding="same")(x), layers.Conv1D(8, 3, padding="same")(x)
        return layers.Dense(3)(layers.Concatenate()([q, layers.Attention()([q, k])]))

    return series(run)


def unit_norm() -> Kind:
    return series(lambda x: layers.UnitNormalization()(layers.Dense(6)(layers.Flatten()(x))))


def layer_norm() -> Kind:
    return series(lambda x: layers.Dense(4)(layers.LayerNormalization()(layers.Dense(8, "gelu")(x))))


def _pair() -> Any:
    return keras.Input((32, 32, 3), name="a"), keras.Input((32, 32, 3), name="b")


def several_inputs_and_outputs() -> Kind:
    image, extra = keras.Input((32, 32, 3), name="image"), keras.Input((5,), name="extra")
    y = layers.GlobalAveragePooling2D()(conv(image, 8))
    both = layers.Concatenate()([y, layers.Dense(4, "relu")(extra)])
    outputs = {"a": layers.Dense(2, name="a")(both), "b": layers.Dense(3, name="b")(both), "features": y}
    return keras.Model([image, extra], outputs), [normal(4, 32, 32, 3), normal(4, 5)]


def siamese() -> Kind:
    inside = keras.Input((32, 32, 3))
    tower = keras.Model(inside, layers.Dense(6)(layers.GlobalAveragePooling2D()(conv(inside, 8))), name="tower")
    a, b = _pair()
    distance = layers.Lambda(lambda pair: tf.abs(pair[0] - pair[1]))([tower(a), tower(b)])
    return keras.Model([a, b], layers.Dense(1, "sigmoid")(distance)), [normal(4, 32, 32, 3), normal(4, 32, 32, 3) * 0.7]


def shared_layers_with_own_norms() -> Kind:
    def run(x: Any) -> Any:
        tower, head = layers.Conv2D(8, 3, padding="same", use_bias=False), layers.Conv2D(4, 1)
        sizes = (x, layers.MaxPooling2D()(x))
        return [head(layers.ReLU()(layers.BatchNormalization()(tower(size)))) for size in sizes]

    return images(run)


def time_distributed() -> Kind:
    inputs = keras.Input((3, 16, 16, 3))
    inside = keras.Input((16, 16, 3))
    frame = keras.Model(inside, layers.Conv2D(4, 3, 2, activation="relu")(inside))
    x = layers.TimeDistributed(layers.Conv2D(8, 3, padding="same", activation="relu"))(inputs)
    x = layers.TimeDistributed(layers.MaxPooling2D())(layers.TimeDistributed(layers.BatchNormalization())(x))
    x = layers.TimeDistributed(layers.Flatten())(x)
    y = layers.TimeDistributed(frame)(inputs)
    y = layers.TimeDistributed(layers.GlobalAveragePooling2D())(y)
    return keras.Model(inputs, layers.Dense(3)(layers.Flatten()(layers.Concatenate()([x, y])))), normal(4, 3, 16, 16, 3)


def functions_of_tensorflow() -> Kind:
    kernels = [tf.Variable(0.3 * normal(*shape)) for shape in ((3, 3, 3, 8), (3, 3, 8, 1), (2, 2, 4, 8))]

    def run(x: Any) -> Any:
        x = tf.nn.relu(tf.nn.bias_add(tf.nn.conv2d(x, kernels[0], 1, "SAME"), tf.zeros(8)))
        x = tf.nn.depthwise_conv2d(
            tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]], "REFLECT"), kernels[1], (1, 1, 1, 1), "VALID"
        )
        x = tf.nn.max_pool2d(tf.nn.relu6(x), 2, 2, "VALID")
        x = tf.nn.conv2d_transpose(x, kernels[2], (tf.shape(x)[0], 32, 32, 4), 2, "SAME")
        return tf.reduce_mean(tf.gather(x, [2, 0, 3], axis=-1), [1, 2])

    return images(run)


def lambdas() -> Kind:
    kernel = tf.constant(0.3 * normal(3, 3, 3, 8))

    def run(x: Any) -> Any:
        x = layers.Lambda(lambda t: tf.nn.conv2d(t, kernel, 2, "SAME"))(x)
        x = layers.Lambda(lambda t: tf.nn.relu(t) ** 0.5)(x)
        x = layers.Conv2D(4, 3)(layers.Lambda(lambda t: tf.pad(t, [[0, 0], [1, 1], [1, 1], [0, 0]]))(x))
        return layers.Lambda(lambda t: tf.reduce_max(t, [1, 2]), name="largest")(x)

    return images(run)


class Scaled(layers.Layer):  # type: ignore[misc]
    """A layer of a user's own, of layers and functions."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.inner = layers.Conv2D(8, 3, padding="same")

    def call(self, x: Any) -> Any:
        """The inner layer, a function, and a number."""
        return tf.nn.silu(self.inner(x)) * 0.5 + x


def custom_layer() -> Kind:
    return images(lambda x: layers.Conv2D(2, 1)(Scaled()(conv(x, 8))))


def einsum_dense() -> Kind:
    def run(x: Any) -> Any:
        x = layers.EinsumDense("abc,cd->abd", (None, 16), bias_axes="d", activation="relu")(x)
        return layers.EinsumDense("abc,cde->abde", (None, 4, 4), bias_axes="de")(x)

    return series(run)


def nested() -> Kind:
    def run(x: Any) -> Any:
        inner = keras.Sequential([layers.Conv2D(8, 3, padding="same"), layers.BatchNormalization(), layers.ReLU()])
        inside = keras.Input((32, 32, 8))
        outer = keras.Model(inside, layers.Add()([inside, layers.Conv2D(8, 3, padding="same")(inside)]))
        return layers.Conv2D(2, 1)(outer(inner(x)))

    return images(run)


class Subclassed(keras.Model):  # type: ignore[misc]
    """A model whose call is a graph of layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = layers.Conv2D(8, 3), layers.BatchNormalization()
        self.blocks = [layers.Conv2D(8, 3, padding="same", activation="relu") for _ in range(2)]
        self.head = layers.Dense(4)

    def call(self, x: Any, training: Any = None) -> Any:
        """Blocks in a loop, and a head."""
        x = tf.nn.relu(self.norm(self.first(x), training=training))
        for block in self.blocks:
            x = x + block(x)
        return {"scores": self.head(tf.reduce_mean(x, [1, 2]))}


def subclassed() -> Kind:
    model, x = Subclassed(), normal(4, 32, 32, 3)
    model(x)
    return model, x


STRUCTURES = (
    *(ds_cnn, tcn, crnn, lstm, gru, tied_autoencoder, crepe, text_cnn, transformer_encoder, attention_layer, unit_norm),
    *(layer_norm, several_inputs_and_outputs, siamese, shared_layers_with_own_norms, time_distributed),
    *(functions_of_tensorflow, lambdas, custom_layer, einsum_dense, nested, subclassed),
)

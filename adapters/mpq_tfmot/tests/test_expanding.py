"""Layers that are graphs of layers and functions: what they compute, and names that stay from reading to reading."""

import numpy as np
import pytest

from integration_tests.tfmot.recipes import float_values
from mpq_plugins import plugins
from mpq_tfmot import inventory
from mpq_tfmot.keras import keras, tf
from mpq_tfmot.reader.reading import read_model
from mpq_tfmot.reader.writing import write_model
from mpq_tfmot.tests.networks import samples, settled

layers = keras.layers
convnext = keras.src.applications.convnext


def drawn(*shape):
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


class Own(layers.Layer):
    """A user's layer, with a layer, a variable and functions."""

    def __init__(self):
        super().__init__()
        self.inner, self.matrix = layers.Conv2D(4, 3, padding="same"), tf.Variable(drawn(4, 4))

    def call(self, x):
        return tf.nn.relu(tf.matmul(self.inner(x), self.matrix)) * 0.5 + x


class Reused(layers.Layer):
    """A user's layer that multiplies with the same variable more than once, and returns by name."""

    def build(self, shape):
        self.matrix = self.add_weight("matrix", (4, 4))

    def call(self, x):
        y = tf.nn.relu(tf.matmul(x, self.matrix))
        return {"sum": x + y, "last": tf.matmul(y, self.matrix)}


def reused(x):
    layer = Reused()
    return layer(layer(x)["last"])["sum"]


class Cell(layers.Layer):
    """A user's own recurrent cell, with a layer, which sees zeros at first, and a variable."""

    def __init__(self, units):
        super().__init__()
        self.state_size, self.inner = units, layers.Dense(units)

    def build(self, shape):
        self.kernel = self.add_weight("kernel", (shape[-1], self.state_size))

    def call(self, x, states):
        y = tf.tanh(keras.backend.dot(x, self.kernel) + self.inner(states[0]))
        return y, [y]


class Patches(layers.Layer):
    """The tokens of a vision transformer, whose number Keras does not know."""

    def call(self, x):
        patches = tf.image.extract_patches(x, [1, 2, 2, 1], [1, 2, 2, 1], [1, 1, 1, 1], "VALID")
        return tf.reshape(patches, [tf.shape(x)[0], -1, patches.shape[-1]])


def tokens(x):
    return layers.Reshape((3, 3, 16))(tf.linalg.matrix_transpose(tf.linalg.matrix_transpose(Patches()(x))))


def recurrent(layer):
    return lambda x: layers.Reshape((1, 1, -1))(layer(layers.Reshape((2, 72))(x)))


def states_of_another(x):
    x = layers.Reshape((2, 72))(x)
    both = layers.Bidirectional(layers.SimpleRNN(2, return_state=True, return_sequences=True), merge_mode=None)
    y, turned, *states = both(x)
    z = layers.SimpleRNN(2)(y, initial_state=states[0])
    return layers.Reshape((1, 1, -1))(layers.Concatenate()([z, turned[:, -1], states[1]]))


def volumes(x):
    x = layers.Conv3D(4, 3, padding="same", groups=2, activation="relu")(layers.Reshape((2, 6, 6, 2))(x))
    x = layers.AveragePooling3D((1, 2, 2), 1, padding="same")(layers.MaxPooling3D(3, (1, 2, 2), padding="same")(x))
    x = layers.Conv3DTranspose(3, (2, 3, 2), (1, 2, 1), padding="same")(layers.UpSampling3D((2, 1, 1))(x))
    return layers.Reshape((4, 6, -1))(x)


KERNELS = [tf.constant(drawn(*shape)) for shape in ((3, 3, 4, 4), (3, 2, 4, 1), (2, 2, 4, 4))]
KINDS = {
    "tokens of a number that Keras leaves open": tokens,
    "a layer of a user": lambda x: Own()(x),
    "layers of keras.applications, one of which drops paths": lambda x: convnext.StochasticDepth(0.5)(
        convnext.LayerScale(0.3, 4)(x)
    ),
    "Lambdas": lambda x: layers.Lambda(lambda t: tf.abs(t - 0.3))(
        layers.Lambda(lambda t, by: t * by, arguments={"by": 2})(x)
    ),
    "activations that are layers or of a user": lambda x: layers.Conv2D(
        4, 1, activation=layers.PReLU(alpha_initializer="random_normal", shared_axes=[1, 2])
    )(layers.Conv2D(4, 1, activation=lambda t: tf.nn.gelu(t, True) * 0.5)(x)),
    "a variable of several calls": reused,
    "a softmax of two axes": lambda x: layers.Softmax([1, 2])(x),
    "a cell of a user": recurrent(layers.RNN(Cell(3), return_sequences=True)),
    "an activation of a user": layers.Activation(lambda x: tf.nn.leaky_relu(x, 0.1) + 0.25),
    "a layer at each step": lambda x: layers.TimeDistributed(layers.Conv1D(4, 3, padding="same", activation="relu"))(x),
    "convolutions by function": lambda x: tf.nn.conv2d_transpose(
        tf.nn.depthwise_conv2d(tf.nn.conv2d(x, KERNELS[0], 1, "SAME"), KERNELS[1], (1, 2, 2, 1), "VALID"),
        KERNELS[2],
        (tf.shape(x)[0], 4, 6, 4),
        2,
        "SAME",
    ),
    "products by function": lambda x: tf.einsum(
        "bhwc,cd->bhwd", tf.tensordot(x, tf.constant(drawn(4, 5)), 1), tf.constant(drawn(5, 3))
    ),
    "spreads": lambda x: tf.math.reduce_variance(x, [1, 2], True) + tf.math.reduce_std(x, -1, True),
    "einsum": layers.EinsumDense("abcd,de->abce", (None, None, 3), bias_axes="e", bias_initializer="normal"),
    "einsum of two axes": layers.EinsumDense("abcd,cdef->abef", (None, 2, 4)),
    "positions": lambda x: tf.pad(
        tf.gather(x, [3, 0, 0], axis=2), [[0, 0], [1, 0], [0, 2], [0, 0]], constant_values=0.5
    ),
    "PReLU of every element": lambda x: layers.PReLU("random_normal")(x),
    "a norm of rows": lambda x: layers.BatchNormalization(axis=1)(x),
    "transposed with more": lambda x: layers.Conv2DTranspose(4, 3, padding="same", dilation_rate=2)(
        layers.Conv2DTranspose(4, 2, 2, output_padding=1, bias_initializer="normal")(x)
    ),
    "dilated, with all of the border": lambda x: layers.Conv2DTranspose(4, 2, dilation_rate=2)(x),
    "gru, reset before": recurrent(layers.GRU(3, bias_initializer="normal", reset_after=False, go_backwards=True)),
    "simple": recurrent(layers.SimpleRNN(3, activation="relu", go_backwards=True)),
    "cells in a stack": recurrent(layers.RNN([layers.LSTMCell(2), layers.GRUCell(2)])),
    "one that begins with the states of another": states_of_another,
    "an lstm of convolutions": lambda x: layers.ConvLSTM1D(4, 3, padding="same", return_sequences=True)(x[:, :2]),
    "volumes": volumes,
    "weights of each place": lambda x: layers.LocallyConnected2D(
        4, (3, 2), (1, 2), activation="relu", bias_initializer="normal"
    )(x),
    "norms of other axes": lambda x: (
        layers.LayerNormalization([1, 3], gamma_initializer="normal")(x)
        + layers.GroupNormalization(2, axis=1, beta_initializer="normal")(x)
        + layers.UnitNormalization([1, 2])(x)
    ),
    "what covers another shape": lambda x: layers.RandomCrop(4, 5)(
        layers.CenterCrop(7, 7)(layers.Resizing(5, 6, crop_to_aspect_ratio=True)(x))
    ),
    "masks of nothing": lambda x: layers.Masking(0.5)(layers.Masking()(x)),
    "random sizes": lambda x: layers.RandomHeight(0.5)(layers.RandomWidth(0.5)(x)),
    "both ways": recurrent(layers.Bidirectional(layers.LSTM(2, return_sequences=True), merge_mode="ave")),
}


@pytest.mark.parametrize("name", KINDS)
def test_what_a_layer_calls_is_read_and_written_back(name):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6, 6, 3), name="image")
    x = layers.Conv2D(4, 1, name="first")(inputs)
    model = settled(keras.Model(inputs, layers.Conv2D(2, 1, name="last")(KINDS[name](x))))
    readings = [read_model(model, target=plugins.target("litert-po2")) for _ in range(2)]
    x, (reading, again) = samples(model), readings
    assert reading.graph.float_ops == ()
    assert [node.name for node in reading.graph.nodes] == [node.name for node in again.graph.nodes]
    wanted = model(x, training=False).numpy()
    np.testing.assert_allclose(float_values(reading, x)["last"], wanted, atol=1e-4, rtol=1e-4)
    written = write_model(reading)
    np.testing.assert_allclose(written(x), wanted, atol=1e-4, rtol=1e-4)
    sites, again = ({site.name for site in inventory(each, target="litert-po2")} for each in (model, written))
    assert sites == again


class Gated(layers.Layer):
    """What it computes depends on what it is called with besides its tensor."""

    def __init__(self, **options):
        super().__init__(**options)
        self.dense = layers.Dense(4)

    def call(self, x, other=None, tripled=False):
        y = self.dense(x) * (3.0 if tripled else 1.0)
        return y if other is None else y + other


def with_shares(found):
    y, shares = found
    return tf.concat([y, shares if len(shares.shape) == 3 else shares[:, 0]], -1)


SEVERAL = {
    "attention that gives its shares, too": lambda x: with_shares(
        layers.MultiHeadAttention(2, 3)(x, x, return_attention_scores=True)
    ),
    "products that give their shares, too": lambda x: with_shares(
        layers.Attention(use_scale=True)([x, layers.Dense(4)(x)], return_attention_scores=True)
    ),
    "by keyword": lambda x: Gated()(x, tripled=True),
    "a tensor by keyword": lambda x: Gated()(x, other=x),
    "tensors one by one": lambda x: Gated()(x, layers.Dense(4)(x), True),
    "AdditiveAttention": lambda x: layers.AdditiveAttention()([x, layers.Dense(4)(x)]),
    "Dot of a matrix and a vector": lambda x: layers.Dot((2, 1))([x, x[:, 0]]),
    "Dot of unit vectors": lambda x: layers.Dot(1, normalize=True)([x[:, 0], x[:, 1]]),
    "EinsumDense along the steps": lambda x: layers.EinsumDense("abc,bd->adc", (5, 4), bias_axes="d")(x),
}


@pytest.mark.parametrize("kind", SEVERAL)
def test_layers_compute_what_they_are_called_with(kind):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((3, 5), name="x")
    model = keras.Model(inputs, layers.Dense(2, name="last")(SEVERAL[kind](layers.Dense(4)(inputs))))
    x = np.random.default_rng(0).normal(size=(3, 3, 5)).astype(np.float32)
    reading = read_model(model, target=plugins.target("litert-po2"))
    assert reading.graph.float_ops == ()
    np.testing.assert_allclose(float_values(reading, x)["last"], model(x).numpy(), atol=1e-5, rtol=1e-4)


def windows(x):
    parted = tf.transpose(tf.reshape(x, (-1, 2, 3, 2, 3, 4)), (0, 1, 3, 2, 4, 5))
    y = layers.Dense(4)(tf.reshape(parted, (-1, 9, 4)))
    back = tf.transpose(tf.reshape(y, (-1, 2, 2, 3, 3, 4)), (0, 1, 3, 2, 4, 5))
    return tf.reshape(back, (-1, 6, 6, 4))


OPENED = {
    "windows as samples": windows,
    "flip_left_right": tf.image.flip_left_right,
    "pad_to_bounding_box": lambda x: tf.image.pad_to_bounding_box(x, 1, 0, 8, 7),
    "per_image_standardization": tf.image.per_image_standardization,
    "rgb_to_grayscale": lambda x: tf.image.rgb_to_grayscale(x[..., :3]),
    "max_pool1d": lambda x: tf.expand_dims(tf.nn.max_pool1d(x[:, 0], 2, 2, "VALID"), 1),
    "crelu": tf.nn.crelu,
    "norm": lambda x: x / (tf.norm(x, axis=-1, keepdims=True) + 0.1),
    "squared_difference": lambda x: tf.math.squared_difference(x, tf.nn.relu(x)) + tf.math.squared_difference(x, 1.0),
    "repeat and slice": lambda x: tf.slice(tf.repeat(x, 2, axis=1), [0, 1, 0, 0], [-1, 5, 6, 3]),
    "patches, a SiLU of another slope, and a resize": lambda x: tf.compat.v1.image.resize_bilinear(
        tf.nn.silu(tf.image.extract_patches(x, [1, 3, 2, 1], [1, 2, 1, 1], [1, 1, 2, 1], "SAME"), 1.7),
        (6, 6),
        half_pixel_centers=True,
    ),
    "norms, clipped and of other orders": lambda x: tf.clip_by_norm(x, 0.7, [-1]) + tf.norm(x, 1, -1, True),
    "products and logarithms": lambda x: (
        tf.math.divide_no_nan(x, tf.nn.relu(x) + 0.5)
        + tf.reduce_prod(x, -1, True)
        + tf.math.reduce_logsumexp(x, [1, 2], True)
        + tf.math.xlogy(tf.nn.relu(x), tf.nn.relu(x) + 0.5)
    ),
    "any and all": lambda x: (
        x * tf.cast(tf.reduce_any(x > 1.0, -1, True), "float32")
        + x * tf.cast(tf.reduce_all(x < 1.0, -1, True), "float32")
    ),
    "bounds by channel": lambda x: tf.clip_by_value(x, [-0.5, -1.0, -0.1, -0.2], [0.5, 0.4, 0.3, 0.2]),
    "sizes around": lambda x: tf.image.resize_with_crop_or_pad(tf.image.resize_with_pad(x, 9, 12), 7, 13),
    "turned": lambda x: tf.image.rot90(tf.image.rot90(tf.image.crop_to_bounding_box(x, 1, 0, 4, 6), 3), 2),
    "colours": lambda x: tf.image.rgb_to_yuv(tf.image.grayscale_to_rgb(tf.image.adjust_contrast(x[..., :1], 0.7))),
    "nearest of other sizes": lambda x: tf.image.resize(x, (3, 11), "nearest"),
    "of a matrix": lambda x: tf.linalg.band_part(x, 1, 0) + tf.linalg.trace(x)[:, :, None, None],
    "einsum of one, and products along other axes": lambda x: tf.tensordot(
        tf.einsum("bhwc->bwhc", x), tf.constant(drawn(6, 5)), [[1], [0]]
    ),
    "repeated unevenly, and a mean spread": lambda x: (
        tf.repeat(x, [1, 0, 2, 1], axis=3) + tf.broadcast_to(tf.reduce_mean(x, [1, 2], True), tf.shape(x))
    ),
    "a product in front of sizes that are computed": lambda x: keras.backend.dot(x, tf.constant(drawn(4, 3))),
    "pools of any rank": lambda x: tf.nn.pool(tf.nn.avg_pool(x, 2, 1, "SAME"), [2, 2], "MAX"),
    "casts to the same": lambda x: tf.cast(tf.convert_to_tensor(x), tf.float32),
}


@pytest.mark.parametrize("kind", OPENED)
def test_functions_that_are_several_others_are_read_and_written_as_those(kind):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6, 6, 3), name="x")
    model = keras.Model(inputs, layers.Conv2D(2, 1, name="last")(OPENED[kind](layers.Conv2D(4, 1)(inputs))))
    x = np.random.default_rng(0).normal(size=(3, 6, 6, 3)).astype(np.float32)
    reading, wanted = read_model(model, target=plugins.target("litert-po2")), model(x).numpy()
    assert reading.graph.float_ops == ()
    np.testing.assert_allclose(float_values(reading, x)["last"], wanted, atol=1e-4, rtol=1e-4)
    np.testing.assert_allclose(write_model(reading)(x), wanted, atol=1e-4, rtol=1e-4)

"""Arithmetic with constants in Keras: every spelling computes the same, and one function gets one verdict."""

import numpy as np
import pytest

from integration_tests.tfmot.recipes import float_values
from mpq_plugins import plugins
from mpq_plugins.errors import UnsupportedOp
from mpq_tfmot.keras import keras, tf
from mpq_tfmot.reader.reading import read_model
from mpq_tfmot.reader.writing import write_model
from mpq_tfmot.tests.networks import samples, settled

layers = keras.layers
GAIN, MEAN = np.array([0.5, 1.5, -2.0, 1.0], np.float32), np.array([0.25, -0.5, 1.0, 2.0], np.float32)


def between(op):
    """A function of a rectified tensor between two layers, so that it may not stay float."""
    inputs = keras.Input((6, 6, 3), name="image")
    x = layers.Conv2D(4, 1, activation="relu", name="first")(inputs)
    return settled(keras.Model(inputs, layers.Conv2D(2, 1, name="last")(op(x))))


def ops_of(model, target="litert-po2"):
    """The ops behind the ReLU, up to the last layer."""
    nodes = read_model(model, target=plugins.target(target)).graph.nodes
    return [node.op for node in nodes[3:-1]]


# each line: spellings of one op with a constant that must compute the same
SAME = [
    (lambda x: x + 3, lambda x: 3.0 + x, lambda x: x - (-3.0), lambda x: tf.add(x, 3.0), layers.Rescaling(1.0, 3.0)),
    (
        lambda x: x / 2,
        lambda x: 0.5 * x,
        lambda x: tf.multiply(x, 0.5),
        lambda x: tf.divide(x, 2.0),
        lambda x: tf.math.scalar_mul(0.5, x),
        layers.Rescaling(0.5),
        lambda x: layers.Average()([x, x, x]) * 0.5,
    ),
    (lambda x: 2 - x, lambda x: -x + 2.0, lambda x: tf.negative(x) + 2.0, lambda x: tf.subtract(2.0, x)),
    (
        lambda x: (x - MEAN) * GAIN,
        lambda x: tf.constant(GAIN) * tf.subtract(x, MEAN),
        lambda x: layers.Normalization(mean=MEAN, variance=1 / GAIN**2)(x) * np.sign(GAIN),
        lambda x: layers.Rescaling(GAIN.tolist(), (-MEAN * GAIN).tolist())(x),
    ),
    (
        lambda x: layers.Subtract()([x, tf.tanh(x)]),
        lambda x: x - tf.tanh(x),
        lambda x: -(tf.tanh(x) - x),
        lambda x: layers.Add()([x, -tf.tanh(x)]),
    ),
    (
        lambda x: layers.Add()([x, x, tf.tanh(x)]),
        lambda x: x + x + tf.tanh(x),
        lambda x: tf.add_n([x, x, tf.tanh(x)]),
        lambda x: layers.Average()([x, x, tf.tanh(x)]) * 3.0,
    ),
    (lambda x: x**2, lambda x: tf.square(x), lambda x: x * x, lambda x: layers.Multiply()([x, x])),
    (lambda x: x**3, lambda x: tf.pow(x, 3), lambda x: layers.Multiply()([x, x, x])),
    (lambda x: abs(x - 1), lambda x: tf.abs(x - 1.0), lambda x: tf.math.abs(tf.subtract(x, 1.0))),
]


@pytest.mark.parametrize("line", SAME, ids=range(len(SAME)))
def test_every_spelling_computes_what_keras_computes_and_is_written_back(line):
    for op in line:
        model = between(op)
        reading, x = read_model(model), samples(model)
        wanted = model(x).numpy()
        np.testing.assert_allclose(float_values(reading, x)["last"], wanted, atol=1e-5, rtol=1e-5)
        written = write_model(reading)
        np.testing.assert_allclose(written(x), wanted, atol=1e-5, rtol=1e-5)
        again = read_model(written).graph
        assert {n.name: (n.op, n.inputs) for n in again.nodes} == {
            n.name: (n.op, n.inputs) for n in reading.graph.nodes
        }
        assert reading.graph.float_ops == ()


def relu6(x):
    return layers.ReLU(6.0)(x)


HARDSWISH = [
    lambda x: layers.Multiply()([x, relu6(x + 3.0) * (1.0 / 6.0)]),
    lambda x: x * tf.nn.relu6(x + 3) / 6,
    lambda x: x * tf.nn.relu6(x + 3) * 0.16666667,
    lambda x: x * keras.activations.relu(x + 3.0, max_value=6.0) / 6.0,
]
HARDSIGMOID = [lambda x: relu6(x + 3.0) / 6.0, lambda x: 0.16666667 * tf.nn.relu6(3.0 + x)]
SILU = [layers.Activation("swish"), lambda x: x * tf.sigmoid(x), lambda x: layers.Multiply()([tf.nn.sigmoid(x), x])]
GELU = [
    lambda x: tf.nn.gelu(x, approximate=True),
    lambda x: 0.5 * x * (1.0 + tf.tanh(0.7978845608 * (x + 0.044715 * tf.pow(x, 3)))),
]


@pytest.mark.parametrize(
    ("word", "line"), [("hardswish", HARDSWISH), ("hardsigmoid", HARDSIGMOID), ("silu", SILU), ("gelu", GELU)]
)
def test_a_function_is_one_node_however_it_is_spelled(word, line):
    assert [ops_of(between(op)) for op in line] == [[word]] * len(line)


@pytest.mark.parametrize(("padding", "ops"), [("valid", ["conv2d"]), ("same", ["depthwise_conv2d", "conv2d"])])
def test_preprocessing_goes_into_the_first_layer_where_nothing_is_padded(padding, ops):
    inputs = keras.Input((6, 6, 3), name="image")
    x = layers.Rescaling(1 / 255.0)(inputs)
    x = layers.Normalization(mean=[0.5, 0.4, 0.3], variance=[0.1, 0.2, 0.3])(x)
    model = settled(keras.Model(inputs, layers.Conv2D(4, 3, padding=padding, name="first")(x)))
    reading, images = read_model(model), 255 * np.random.default_rng(0).random((4, 6, 6, 3)).astype(np.float32)
    assert [node.op for node in reading.graph.layers] == ops
    np.testing.assert_allclose(float_values(reading, images)["first"], model(images), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("op", "name"),
    [
        (lambda x: np.ones((6, 1, 4), np.float32) / x, "tf.math.truediv"),
        (lambda x: 2.0**x, "tf.math.pow"),
        (lambda x: x * np.ones((6, 1, 4), np.float32) * np.inf, "tf.math.multiply"),
    ],
    ids=["one over", "a power of two", "infinity"],
)
def test_other_arithmetic_is_refused_by_name(op, name):
    with pytest.raises(UnsupportedOp, match=name):
        read_model(between(op), target=plugins.target("litert-po2"))

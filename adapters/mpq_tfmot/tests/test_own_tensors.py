"""Tensors of the model's own beside activations in Keras: tokens, positions, masks, however a model writes them."""

import numpy as np
import pytest

from integration_tests.tfmot.recipes import float_values
from mpq_plugins import plugins
from mpq_plugins.errors import UnsupportedOp
from mpq_tfmot.keras import keras, tf
from mpq_tfmot.reader.reading import read_model
from mpq_tfmot.reader.writing import write_model

layers = keras.layers
RNG = np.random.default_rng(0)
TOKEN, PLACES = (RNG.normal(size=shape).astype(np.float32) for shape in ((1, 1, 3), (4, 3)))


class Tokens(layers.Layer):
    """Tokens with variables of the layer's own among them."""

    def __init__(self, op, **options):
        super().__init__(**options)
        self.op, self.embedding = op, layers.Embedding(4, 3)
        self.token = self.add_weight("token", (1, 1, 3), initializer=keras.initializers.Constant(TOKEN))
        self.places = self.add_weight("places", (4, 3), initializer=keras.initializers.Constant(PLACES))

    def call(self, x):
        return self.op(self, x)


def network(op):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((4, 3), name="x")
    x = layers.Dense(3, activation="relu", name="first")(inputs)
    return keras.Model(inputs, layers.Dense(2, name="last")(Tokens(op, name="tokens")(x)))


def ops_of(model):
    nodes = read_model(model, target=plugins.target("litert-po2")).graph.nodes
    return sorted(node.op for node in nodes[3:-1])


def samples_of(x):
    return tf.shape(x)[0]


JOINED, OF_TWO = ["add", "constant", "input", "pad", "pad"], ["add", "constant", "input"]
TIMES = ["constant", "input", "mul"]
OWN = [
    (lambda m, x: tf.concat([tf.broadcast_to(m.token, [samples_of(x), 1, 3]), x], 1), JOINED),
    (lambda m, x: layers.Concatenate(1)([x, tf.repeat(m.token, samples_of(x), axis=0)]), JOINED),
    (lambda m, x: tf.concat([tf.zeros_like(x[:, :1]), x], 1), ["pad"]),
    (lambda m, x: tf.concat([x, tf.zeros([samples_of(x), 4, 2])], 2), ["pad"]),
    (lambda m, x: tf.reshape(tf.stack([x, tf.zeros_like(x)], 2), (-1, 8, 3)), ["pad", "reshape", "reshape"]),
    (lambda m, x: x + m.places, OF_TWO),
    (lambda m, x: m.embedding(tf.expand_dims(tf.range(tf.shape(x)[1]), 0)) + x, OF_TWO),
    (lambda m, x: layers.Add()([x, tf.tile(PLACES[None], [samples_of(x), 1, 1])]), OF_TWO),
    (lambda m, x: x * tf.constant(PLACES[:, :1]), TIMES),
    (lambda m, x: x / PLACES, TIMES),
    (lambda m, x: tf.maximum(x, tf.zeros_like(x)), []),
]


@pytest.mark.parametrize(("op", "ops"), OWN, ids=range(len(OWN)))
def test_what_depends_on_no_argument_is_one_constant_of_the_graph(op, ops):
    model, x = network(op), RNG.normal(size=(5, 4, 3)).astype(np.float32)
    assert ops_of(model) == ops
    reading, wanted = read_model(model), model(x).numpy()
    np.testing.assert_allclose(float_values(reading, x)["last"], wanted, atol=1e-5, rtol=1e-5)
    written = write_model(reading)
    np.testing.assert_allclose(written(x), wanted, atol=1e-5, rtol=1e-5)
    assert ops_of(written) == ops


def test_a_variable_that_two_calls_read_is_one_site_of_its_own_name():
    graph = read_model(network(lambda m, x: (x + m.places) * m.places)).graph
    assert [node.name for node in graph.nodes if node.op == "constant"] == ["tokens.places"]


def test_what_is_drawn_anew_at_every_call_is_no_constant():
    model = network(lambda m, x: x + tf.random.normal(tf.shape(x)))
    with pytest.raises(UnsupportedOp, match=r"random\.normal"):
        ops_of(model)

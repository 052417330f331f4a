"""Norms, softmaxes and matrix products in training: gradients by finite differences, and exact once hardened."""

import numpy as np
import pytest
import tensorflow_model_optimization as tfmot

from mpq_plugins.graph.ops import op_of
from mpq_plugins.tests.row_nodes import NODES
from mpq_tfmot import QuantizeScheme, SearchCallback, harden, litert, quantize_scope, search, simulate
from mpq_tfmot.keras import keras, tf
from mpq_tfmot.runner.tensorflow_runner import TensorflowRunner

layers = keras.layers


@pytest.mark.parametrize("kind", NODES)
def test_gradients_are_those_of_finite_differences(kind):
    node, rng = NODES[kind], np.random.default_rng(0)
    x = [tf.constant(rng.normal(size=(2, 3, 4)))] + [tf.constant(rng.normal(size=(2, 4, 2)))] * (len(node.inputs) - 1)
    runner = TensorflowRunner()
    wanted, got = tf.test.compute_gradient(lambda *tensors: op_of(node).value(runner, node, *tensors), x)
    for one, other in zip(wanted, got, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


PRODUCTS = {
    "matmul": lambda x, y: tf.matmul(tf.nn.softmax(tf.matmul(x, y, transpose_b=True)), y),
    "Dot": lambda x, y: layers.Dot((2, 1))([layers.Softmax()(layers.Dot(2)([x, y])), y]),
    "Dot along rows": lambda x, y: layers.Dot(1)([x, y]),
    "Attention": lambda x, y: layers.Attention(use_scale=True)([x, y]),
    "Attention of three": lambda x, y: layers.Attention()([x, y, layers.ReLU()(y)]),
}


@pytest.mark.parametrize("kind", PRODUCTS)
def test_what_keras_calls_a_product_is_one_and_exact(kind):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((5, 4), name="x")
    y = PRODUCTS[kind](layers.Dense(4, name="a")(inputs), layers.Dense(4, name="b")(inputs))
    model = keras.Model(inputs, layers.Dense(3, name="last")(y))
    x = np.random.default_rng(0).normal(size=(16, 5, 4)).astype(np.float32)
    recipe = search(model, x, "litert-po2", weight_bits=8, activation_bits=8, progress=False)
    assert "matmul" in {entry.op for entry in recipe.activations}
    simulated = simulate(model, recipe)
    assert np.linalg.norm(np.asarray(simulated(x)) - model(x)) < 0.1 * np.linalg.norm(model(x))
    litert.verify(litert.export(model, recipe), simulated, x).raise_if_different()


def test_a_transformer_trains_hardens_and_converts_exactly():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((5, 4), name="x")
    y = layers.LayerNormalization(name="norm")(layers.Dense(12, name="first")(inputs))
    y = layers.Add(name="sum")([y, layers.MultiHeadAttention(2, 6, name="attention")(y, y)])
    model = keras.Model(inputs, layers.Dense(3, name="last")(y))
    x = np.random.default_rng(0).normal(size=(8, 5, 4)).astype(np.float32)
    with quantize_scope():
        annotated = tfmot.quantization.keras.quantize_annotate_model(model)
        trained = tfmot.quantization.keras.quantize_apply(annotated, QuantizeScheme(method="msqe", weight_bits=4))
    trained.compile(keras.optimizers.SGD(0.05), "mse", run_eagerly=True)
    trained.fit(x, x[..., :3], 4, 1, 0, [SearchCallback(steps=2)], shuffle=False)
    recipe = harden(trained)
    assert not recipe.float_ops
    assert {entry.grid.bits for entry in recipe.weights} == {4}
    litert.verify(litert.export(trained, recipe), simulate(trained, recipe), x).raise_if_different()

"""A model on fixed grids evaluates to the numbers of the target's runtime, bit for bit."""

import numpy as np
import pytest

from integration_tests.tfmot.recipes import clipping_recipe
from mpq_plugins import Budget
from mpq_plugins.exporters.litert.running import run_litert
from mpq_tfmot import SearchCallback, harden, quantize, quantize_scope, simulate, to_litert
from mpq_tfmot.keras import keras, tf
from mpq_tfmot.tests.networks import NETWORKS, hard_swish, network, samples, settled
from mpq_tfmot.tests.training import compiled, quantized

layers = keras.layers


@pytest.mark.parametrize(
    ("target", "weight_bits", "activation_bits"), [("litert-po2", 8, 8), ("litert-po2-reference", 3, 4)]
)
@pytest.mark.parametrize("kind", NETWORKS)
def test_a_quantized_model_evaluates_to_its_simulation(kind, target, weight_bits, activation_bits):
    model = network(kind)
    x = samples(model, 16)
    wide = activation_bits == 8
    recipe = clipping_recipe(model, x, target, weight_bits, activation_bits, per_channel=wide)
    with keras.utils.custom_object_scope({"hard_swish": hard_swish}):
        qmodel = quantize(model, recipe)
    found = qmodel.predict(2 * x, verbose=0) if wide else qmodel(2 * x)
    np.testing.assert_array_equal(found, simulate(model, recipe).predict(2 * x))


def blocks():
    """A convolution, a depthwise one with ReLU6, a residual add, norms, a global mean and a dense layer."""
    x = inputs = keras.Input((8, 8, 2), name="image")
    x = layers.Conv2D(6, 3, padding="same", use_bias=False, name="conv")(x)
    x = layers.BatchNormalization(name="norm")(x)
    x = shortcut = layers.ReLU(name="relu")(x)
    x = layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="depthwise")(x)
    x = layers.BatchNormalization(name="depthwise_norm")(x)
    x = layers.ReLU(6.0, name="relu6")(x)
    x = layers.Conv2D(6, 1, name="project")(x)
    x = layers.Add(name="add")([x, shortcut])
    x = layers.AveragePooling2D(2, name="pool")(x)
    x = layers.GlobalAveragePooling2D(name="mean")(x)
    return settled(keras.Model(inputs, layers.Dense(5, name="fc")(x)))


@pytest.fixture(scope="module")
def hardened():
    """A model after a search and a few steps at its grids, its recipe, and inputs."""
    model = quantized("hmq", (3, 4, 8), blocks(), per_channel=True)
    compiled(model, rate=0.01)
    x = samples(model, 48)
    y = np.arange(48) % 5
    model.fit(x, y, 8, 1, 0, callbacks=[SearchCallback(Budget(average_weight_bits=4), steps=4, observe=2)])
    return model, harden(model), 2 * samples(model, 64, seed=3)


def test_a_hardened_model_evaluates_to_litert_s_numbers(hardened):
    model, recipe, x = hardened
    found = model.predict(x, verbose=0)
    np.testing.assert_array_equal(found, simulate(model, recipe).predict(x))
    np.testing.assert_array_equal(found, run_litert(to_litert(model, recipe), x)[0])
    assert len(np.unique(found)) > 20


def test_it_does_so_eagerly_compiled_by_xla_loaded_and_in_the_forward_pass_of_training(hardened, tmp_path):
    model, _, x = hardened
    found = model.predict(x, verbose=0)
    np.testing.assert_array_equal(model(x), found)
    np.testing.assert_array_equal(model(x, training=True), found)
    np.testing.assert_array_equal(tf.function(model, jit_compile=True)(x), found)
    model.save(tmp_path / "hardened.keras")
    with quantize_scope():
        loaded = keras.models.load_model(tmp_path / "hardened.keras")
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), found)


def test_biases_are_trained_where_they_lie_on_the_accumulators_steps(hardened):
    model, recipe, _ = hardened
    wrapper = model.get_layer("quant_project")
    steps = np.asarray(recipe["project.weight"].steps) * recipe["depthwise"].step
    np.testing.assert_array_equal(wrapper.bias_steps, steps)
    bias = wrapper.layer.bias
    assert any(variable is bias for variable in wrapper.trainable_weights)
    with tf.GradientTape() as tape:
        y = wrapper(tf.zeros((1, 8, 8, 6)), training=True)
        total = tf.reduce_sum(y)
    on_steps = np.rint(bias.numpy() / steps) * steps
    np.testing.assert_array_equal(y[0, 0, 0], recipe["project"].project(on_steps))
    np.testing.assert_array_equal(tape.gradient(total, bias), [64.0] * 6)

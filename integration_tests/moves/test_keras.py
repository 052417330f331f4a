"""What moves elements, and what is several kernels, is read from Keras with its own values, and is exact in LiteRT."""

import numpy as np
import pytest

from integration_tests.tfmot.recipes import clipping_recipe, float_values
from mpq_tfmot import litert, quantize, search, simulate
from mpq_tfmot.keras import keras, tf
from mpq_tfmot.reader.reading import read_model
from mpq_tfmot.reader.writing import write_model
from mpq_tfmot.tests.moving_networks import COMPOSED, MOVES, moved
from mpq_tfmot.tests.networks import samples


@pytest.mark.parametrize("name", [*MOVES, *COMPOSED])
def test_a_move_gives_keras_own_values_and_is_written_as_it_is_read(name):
    model = moved(name)
    x = samples(model, count=3)
    reading = read_model(model)
    assert reading.graph.float_ops == ()
    wanted = model(x).numpy()
    written = write_model(reading)
    np.testing.assert_allclose(float_values(reading, x)[reading.graph.outputs[0]], wanted, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(written(x), wanted, rtol=1e-5, atol=1e-5)
    again = read_model(written).graph
    assert {(n.name, n.op, n.shape) for n in again.nodes} == {(n.name, n.op, n.shape) for n in reading.graph.nodes}


# a move on its own is one on every kernel; what composed ops compute, the reference kernels round otherwise
@pytest.mark.parametrize(
    ("name", "target"),
    [*((n, "litert-po2") for n in [*MOVES, *COMPOSED]), *((n, "litert-po2-reference") for n in COMPOSED)],
)
def test_a_move_is_exact_in_litert(name, target):
    model = moved(name)
    x = samples(model, count=4)
    recipe = clipping_recipe(model, x, target, 4, 5)
    litert.verify(litert.export(model, recipe), simulate(model, recipe), x * 2).raise_if_different()


def test_a_step_for_each_channel_of_a_convolution_in_groups_is_exact_in_litert():
    model = moved("in groups")
    x = samples(model, count=4)
    recipe = clipping_recipe(model, x, "litert-po2-optimized", 4, 5, per_channel=True)
    litert.verify(litert.export(model, recipe), simulate(model, recipe), x * 2).raise_if_different()


def test_composed_ops_are_searched_trained_and_exported():
    layers = keras.layers
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6, 6, 3))
    x = layers.PReLU(shared_axes=[1, 2])(layers.Conv2D(4, 3, padding="same")(inputs))
    x = layers.Maximum()([x, layers.UpSampling2D(2, interpolation="bilinear")(layers.MaxPooling2D()(x))])
    x = layers.DepthwiseConv2D(3, depth_multiplier=2)(x)
    x = layers.Concatenate()([layers.GlobalMaxPooling2D()(x), tf.reduce_sum(x, [1, 2])])
    model = keras.Model(inputs, layers.Dense(2)(x))
    data = np.random.default_rng(0).normal(size=(16, 6, 6, 3)).astype(np.float32)
    recipe = search(model, data, "litert-po2", weight_bits=8, activation_bits=8, progress=False)
    simulated = simulate(model, recipe)
    litert.verify(litert.export(model, recipe), simulated, data).raise_if_different()
    trained = quantize(model, recipe)
    assert np.array_equal(trained.predict(data, verbose=0), simulated.predict(data))
    trained.compile("sgd", "mse")
    assert np.isfinite(trained.fit(data, np.zeros((16, 2)), verbose=0).history["loss"]).all()

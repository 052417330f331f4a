"""Sizes that Keras leaves open though they are always the same become numbers, and the model itself stays as it was."""

import numpy as np

from mpq_tfmot.keras import keras, tf
from mpq_tfmot.reader.whole_sizes import with_whole_sizes


def tokens():
    """A model that leaves it to the reshape how many tokens there are, so that Keras does not know."""
    x = keras.Input((8, 3))
    y = tf.reshape(x, [tf.shape(x)[0], -1, 6])
    return keras.Model(x, keras.layers.ReLU()(y))


def calls(model):
    return [node for depth in sorted(model._nodes_by_depth, reverse=True) for node in model._nodes_by_depth[depth]]


def test_open_axes_get_the_size_that_they_have_when_the_model_runs():
    model = tokens()
    before = [len(layer._inbound_nodes) for layer in model.layers]
    assert model.output_shape == (None, None, 6)
    whole = with_whole_sizes(model, calls(model))
    assert whole.output_shape == (None, 4, 6)
    assert [len(layer._inbound_nodes) for layer in model.layers] == before
    x = np.random.default_rng(0).normal(size=(3, 8, 3)).astype(np.float32)
    np.testing.assert_array_equal(whole(x), model(x))


def test_a_model_without_open_axes_is_itself():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)])
    assert with_whole_sizes(model, calls(model)) is model


def test_sizes_that_are_open_at_the_start_stay():
    model = keras.Sequential([keras.Input((None, 4)), keras.layers.Dense(2)])
    assert with_whole_sizes(model, calls(model)) is model

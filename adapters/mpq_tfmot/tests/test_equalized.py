"""Equalizing Keras models: the function stays, the weights narrow."""

import numpy as np
import pytest

from mpq_plugins.search.equalized import find_links
from mpq_tfmot import equalize, search
from mpq_tfmot.keras import keras
from mpq_tfmot.reader.reading import read_model
from mpq_tfmot.tests.networks import NETWORKS, hard_swish, samples, settled

layers = keras.layers


def separable_chain():
    """A ReLU6 chain of a full, a depthwise and a pointwise convolution with very uneven channels."""
    model = settled(
        keras.Sequential(
            [
                keras.Input((8, 8, 3), name="image"),
                layers.Conv2D(8, 3, padding="same", name="conv"),
                layers.ReLU(6.0, name="r1"),
                layers.ZeroPadding2D(1, name="pad"),
                layers.DepthwiseConv2D(3, name="dw"),
                layers.ReLU(6.0, name="r2"),
                layers.Conv2D(4, 1, name="pw"),
                layers.GlobalAveragePooling2D(name="mean"),
                layers.Dense(3, name="fc"),
            ]
        )
    )
    weight, bias = model.get_layer("conv").get_weights()
    uneven = np.exp2(-np.arange(8))
    model.get_layer("conv").set_weights([weight * uneven, bias * uneven])
    return model


def test_links_run_through_paddings_and_pooling_and_know_the_cap():
    links = [(link.first, link.second, link.cap) for link in find_links(read_model(separable_chain()).graph)]
    assert links == [("conv", "dw", 6.0), ("dw", "pw", 6.0), ("pw", "fc", None)]


def test_the_function_stays_and_uneven_channels_even_out():
    model = separable_chain()
    x = samples(model, 32)
    equalized = equalize(model, x)
    np.testing.assert_allclose(equalized(x), model(x), atol=1e-5)

    def spread(name, of):
        peaks = np.abs(of.get_layer(name).get_weights()[0]).max(axis=(0, 1, 2))
        return peaks.max() / peaks.min()

    assert spread("conv", equalized) < spread("conv", model) / 4


@pytest.mark.parametrize("kind", NETWORKS)
def test_every_network_keeps_its_function(kind):
    model = NETWORKS[kind]()
    x = samples(model, 16)
    with keras.utils.custom_object_scope({"hard_swish": hard_swish}):
        np.testing.assert_allclose(equalize(model, x)(x), model(x), atol=1e-4)


def test_for_the_activation_bits_of_a_recipe_the_function_stays_and_less_is_lost():
    model = separable_chain()
    x = samples(model, 32)

    def found(of):
        return search(of, x, "litert-po2", weight_bits=8, activation_bits={"image": 8, "fc": 8, "*": 3})

    recipe = found(model)
    equalized = equalize(model, x, recipe)
    np.testing.assert_allclose(equalized(x), model(x), atol=1e-4)
    assert found(equalized).predicted["loss"] < recipe.predicted["loss"] / 2


def test_a_layer_that_an_add_reads_is_left_alone():
    names = {
        name for link in find_links(read_model(NETWORKS["residual"]()).graph) for name in (link.first, link.second)
    }
    assert names == set()

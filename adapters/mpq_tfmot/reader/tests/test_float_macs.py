"""Products of one sample that Keras' layers without a record make, counted one by one."""

import numpy as np
import pytest

from mpq_tfmot.keras import keras
from mpq_tfmot.reader.call import Call
from mpq_tfmot.reader.float_macs import macs

layers = keras.layers


def call_of(layer, *shapes):
    inputs = [keras.Input(shape) for shape in shapes]
    output = (
        layer(*inputs)
        if isinstance(layer, layers.MultiHeadAttention)
        else layer(inputs if len(inputs) > 1 else inputs[0])
    )
    return Call(layer, None, "a", "a", ("x",) * len(shapes), shapes, tuple(output.shape[1:]))


STEPS, FEATURES, UNITS = 5, 3, 4
OF_A_STEP = {"SimpleRNN": UNITS, "LSTM": 4 * UNITS, "GRU": 3 * UNITS}


@pytest.mark.parametrize("kind", OF_A_STEP)
def test_a_recurrent_layer_multiplies_with_every_weight_at_every_step(kind):
    expected = STEPS * OF_A_STEP[kind] * (FEATURES + UNITS)
    layer = getattr(layers, kind)(UNITS)
    assert macs(call_of(layer, (STEPS, FEATURES))) == {"macs": expected}
    both = layers.Bidirectional(getattr(layers, kind)(UNITS))
    assert macs(call_of(both, (STEPS, FEATURES))) == {"macs": 2 * expected}


def test_a_recurrent_layer_of_images_does_so_at_every_place():
    layer = layers.ConvLSTM2D(UNITS, 3, padding="same")
    expected = STEPS * 6 * 7 * 4 * UNITS * (FEATURES + UNITS) * 3 * 3
    assert macs(call_of(layer, (STEPS, 6, 7, FEATURES))) == {"macs": expected}


def test_a_transposed_convolution_of_volumes_multiplies_every_place_that_it_reads():
    layer = layers.Conv3DTranspose(UNITS, (2, 3, 1))
    assert macs(call_of(layer, (2, 3, 4, FEATURES))) == {"macs": 2 * 3 * 4 * FEATURES * UNITS * 2 * 3 * 1}


def test_a_locally_connected_layer_multiplies_with_every_weight_once():
    assert macs(call_of(layers.LocallyConnected1D(UNITS, 2), (STEPS, FEATURES))) == {
        "macs": (STEPS - 1) * 2 * FEATURES * UNITS
    }


def test_attention_makes_two_products_of_all_pairs_of_steps():
    assert macs(call_of(layers.Attention(), (STEPS, 6), (7, 6))) == {"macs": STEPS * 7 * (6 + 6)}


def test_attention_of_heads_has_four_dense_layers_beside_them():
    heads, key, value = 2, 3, 5
    layer = layers.MultiHeadAttention(heads, key, value)
    dense = STEPS * 6 * heads * key + 7 * 6 * heads * (key + value) + STEPS * heads * value * 6
    products = STEPS * 7 * heads * (key + value)
    assert macs(call_of(layer, (STEPS, 6), (7, 6))) == {"macs": dense + products}


def test_other_layers_have_none_of_their_own():
    assert macs(call_of(layers.Dense(2), (FEATURES,))) == {}
    assert np.prod(layers.Dense(2)(np.zeros((1, FEATURES))).shape) == 2

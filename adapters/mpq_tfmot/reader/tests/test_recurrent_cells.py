"""One step of a cell, made of layers and functions, is the step that Keras' cell takes, from zeros and from states."""

import numpy as np
import pytest

from mpq_tfmot.keras import keras, tf
from mpq_tfmot.reader.recurrent_cells import step_of

layers = keras.layers
RANDOM = np.random.default_rng(0)


class Leaky(layers.Layer):
    """A user's own cell that begins with ones."""

    state_size, output_size = 3, 3

    def get_initial_state(self, inputs=None, batch_size=None, dtype=None):
        return tf.ones((batch_size, 3), dtype)

    def call(self, x, states, training=None):
        after = 0.5 * states[0] + x
        return after * 2.0, [after]


CELLS = {
    "simple": (lambda: layers.SimpleRNNCell(4, activation="relu"), (3,)),
    "simple, no bias": (lambda: layers.SimpleRNNCell(4, use_bias=False), (3,)),
    "lstm": (lambda: layers.LSTMCell(4, bias_initializer="normal"), (3,)),
    "gru, reset after": (lambda: layers.GRUCell(4, bias_initializer="normal"), (3,)),
    "gru, reset before": (lambda: layers.GRUCell(4, bias_initializer="normal", reset_after=False), (3,)),
    "gru, no bias": (lambda: layers.GRUCell(4, use_bias=False), (3,)),
    "a stack": (lambda: layers.StackedRNNCells([layers.LSTMCell(2), layers.GRUCell(4)]), (3,)),
    "a user's": (Leaky, (3,)),
    "lstm of convolutions": (lambda: layers.ConvLSTM2D(4, 3, padding="same").cell, (5, 5, 3)),
}


def built(kind):
    make, shape = CELLS[kind]
    cell = make()
    cell.build((2, *shape))
    return cell, shape


def drawn(*shape):
    return tf.constant(RANDOM.normal(size=shape), tf.float32)


def zeros(cell, kind, shape):
    if kind == "lstm of convolutions":
        return [tf.zeros((2, *shape[:-1], cell.filters))] * 2
    return tf.nest.flatten(cell.get_initial_state(batch_size=2, dtype=tf.float32))


@pytest.mark.parametrize("kind", CELLS)
def test_two_steps_from_the_start(kind):
    cell, shape = built(kind)
    step, states = step_of(cell, "cell"), None
    kerass = zeros(cell, kind, shape)
    for _ in range(2):
        x = drawn(2, *shape)
        packed = tf.nest.pack_sequence_as(cell.state_size, kerass) if kind == "a stack" else kerass
        expected, kerass = cell(x, packed)
        output, states = step(x, states)
        kerass = tf.nest.flatten(kerass)
        np.testing.assert_allclose(output, expected, atol=1e-6)
        for own, keras_state in zip(states, kerass, strict=True):
            np.testing.assert_allclose(own, keras_state, atol=1e-6)


def test_a_cell_of_images_with_channels_first_has_no_form():
    cell = layers.ConvLSTM2D(4, 3, padding="same", data_format="channels_first").cell
    assert step_of(cell, "cell") is None

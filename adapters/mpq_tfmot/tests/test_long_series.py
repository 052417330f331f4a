"""Keras' recurrent layers over long series: what they read is quantized, the rest of them runs in float."""

import numpy as np
import pytest

import mpq_tfmot
from mpq_plugins.graph.recurrence import READ_APART
from mpq_tfmot.keras import keras
from mpq_tfmot.reader.reading import read_model

layers = keras.layers
DRAWN = {"bias_initializer": "random_normal"}
LAYERS = {
    "lstm, no bias, all outputs": lambda: layers.LSTM(5, use_bias=False, return_sequences=True),
    "gru, reset before": lambda: layers.GRU(5, reset_after=False, **DRAWN),
    "both ways": lambda: layers.Bidirectional(layers.LSTM(5, **DRAWN)),
    "both ways, all outputs": lambda: layers.Bidirectional(layers.GRU(5, return_sequences=True, **DRAWN)),
}


def network(layer, steps):
    x = keras.Input((steps, 4))
    return keras.Model(x, layers.Dense(2, name="last")(layer(layers.Dense(6, name="first")(x))))


@pytest.mark.parametrize("kind", LAYERS)
def test_what_a_layer_reads_of_a_long_series_is_quantized_and_the_rest_is_exact_in_float(kind):
    keras.utils.set_random_seed(0)
    layer, steps = LAYERS[kind](), READ_APART + 1
    model, x = network(layer, steps), np.random.default_rng(0).normal(size=(4, steps, 4)).astype(np.float32)
    recipe = mpq_tfmot.search(model, [x], "onnxruntime", weight_bits=7, activation_bits=8, progress=False)
    weights = [weight for weight in layer.get_weights() if weight.ndim > 1 and len(weight) > 2]  # and no biases
    of_states = sum(weight.size for weight in weights if len(weight) == 5)
    ends = 4 * 6 * steps + model.get_layer("last").kernel.shape[0] * 2 * (1 if layer.output.shape.rank == 2 else steps)
    all_macs = steps * sum(weight.size for weight in weights) + ends
    assert sum(recipe.float_weights.values()) == of_states
    assert (recipe.macs, recipe.quantized_macs) == (all_macs, pytest.approx(1 - steps * of_states / all_macs))
    on_grid = mpq_tfmot.constrain(model, recipe, [x])
    simulated = mpq_tfmot.simulate(on_grid, recipe)
    np.testing.assert_allclose(simulated.predict(x), model.predict(x, verbose=0), atol=0.1)
    mpq_tfmot.onnx.verify(mpq_tfmot.onnx.export(on_grid, recipe), on_grid, [x], recipe).raise_if_different()


def test_a_short_series_is_not_taken_apart():
    read = [read_model(network(layers.LSTM(5, name="lstm"), steps)) for steps in (READ_APART, READ_APART + 1)]
    assert [[node.name for node in reading.graph.layers] for reading in read] == [
        ["first", "last"],
        ["first", "lstm.read", "last"],
    ]

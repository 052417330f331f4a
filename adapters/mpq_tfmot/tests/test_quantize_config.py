"""Inside TF-MOT's own verbs: annotate, apply, fit, save, load, harden."""

from functools import cache

import numpy as np
import pytest
import tensorflow_model_optimization as tfmot

from mpq_plugins import Grid
from mpq_plugins.errors import ModelError, MPQError, RecipeMismatch
from mpq_tfmot import (
    QuantizeConfig,
    QuantizeScheme,
    constrain,
    harden,
    litert,
    quantize,
    quantize_scope,
    search,
    simulate,
    verify,
)
from mpq_tfmot.keras import keras, tf
from mpq_tfmot.tests.networks import NETWORKS, hard_swish, residual, samples
from mpq_tfmot.tests.training import network

annotate_layer = tfmot.quantization.keras.quantize_annotate_layer
annotate_model = tfmot.quantization.keras.quantize_annotate_model
apply = tfmot.quantization.keras.quantize_apply
layers = keras.layers


@cache
def constrained(kind):
    """What no test changes: a network on the grids of its recipe, the recipe, samples."""
    model = network() if kind == "small" else NETWORKS[kind]()
    x = samples(model, 32)
    recipe = search(model, x, "litert-po2", weight_bits=5, activation_bits=6)
    return constrain(model, recipe, x), recipe, x


def quantized(kind="small"):
    on_grid, recipe, x = constrained(kind)
    with quantize_scope({"hard_swish": hard_swish}):
        return on_grid, recipe, quantize(on_grid, recipe), x


@pytest.mark.parametrize("kind", NETWORKS)
def test_hardening_gives_the_recipe_back(kind):
    on_grid, recipe, model, x = quantized(kind)
    hardened = harden(model)
    assert dict(hardened.items()) == dict(recipe.items())
    verify(litert.export(model, hardened), model, x).raise_if_different()
    np.testing.assert_array_equal(simulate(model, hardened).predict(x), simulate(on_grid, recipe).predict(x))


def test_in_training_the_model_computes_what_the_hardware_computes():
    on_grid, recipe, model, x = quantized("residual")
    np.testing.assert_allclose(model(x, training=True), simulate(on_grid, recipe).predict(x), atol=1e-6)


def test_it_trains_with_fit_and_callbacks_and_converts_exactly():
    _, _, model, x = quantized()
    labels = np.arange(len(x)) % 10
    model.compile("adam", "sparse_categorical_crossentropy")
    history = model.fit(x, labels, epochs=4, verbose=0, callbacks=[keras.callbacks.TerminateOnNaN()])
    assert history.history["loss"][-1] < history.history["loss"][0]
    verify(litert.export(model, harden(model)), model, x).raise_if_different()


@pytest.fixture(scope="module")
def compiled():
    _, recipe, model, x = quantized()
    model.compile("adam", "mse", run_eagerly=True)
    return model, recipe, x


def check_saved(model, recipe, x, path):
    model.save(path)
    with quantize_scope():
        loaded = keras.models.load_model(path)
    np.testing.assert_array_equal(loaded(x), model(x))
    assert dict(harden(loaded).items()) == dict(recipe.items())


@pytest.mark.parametrize("suffix", [".keras", ".h5", ""])
def test_it_saves_and_loads_before_training(compiled, suffix, tmp_path):
    check_saved(*compiled, tmp_path / f"model{suffix}")


@pytest.mark.parametrize("suffix", [".keras", ".h5", ""])
def test_it_saves_and_loads_after_training(compiled, suffix, tmp_path):
    model, recipe, x = compiled
    model.fit(x, np.zeros((len(x), 10)), verbose=0)
    check_saved(model, recipe, x, tmp_path / f"model{suffix}")


def test_it_runs_in_a_tf_function_and_clones():
    _, recipe, model, x = quantized()
    np.testing.assert_allclose(tf.function(model)(x), model(x), atol=1e-6)
    with quantize_scope():
        clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    assert dict(harden(clone).items()) == dict(recipe.items())


def test_a_simulation_may_be_called_in_a_tf_function_first():
    on_grid, recipe, _, x = quantized()
    simulated = simulate(on_grid, recipe)
    found = tf.function(lambda inputs: simulated(inputs))(tf.constant(x))
    np.testing.assert_array_equal(found, simulated(x))


def test_the_stock_converter_makes_integers_of_a_model_with_one_step_per_tensor():
    model = network()
    x = samples(model, 32)
    recipe = search(model, x, "litert-po2", weight_bits=3, activation_bits=5, per_channel=False)
    qmodel = quantize(constrain(model, recipe, x), recipe)
    converter = tf.lite.TFLiteConverter.from_keras_model(qmodel)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    from mpq_plugins.exporters.litert.running import run_litert

    got = run_litert(converter.convert(), x)[0]
    step = recipe["fc"].step
    assert np.abs(got - simulate(qmodel, harden(qmodel)).predict(x)).max() <= 2 * step


def test_our_config_stands_beside_the_default_one():
    inputs = keras.Input((8, 8, 3))
    x = annotate_layer(layers.Conv2D(4, 3, activation="relu", name="mine"), QuantizeConfig(weight_bits=4))(inputs)
    x = annotate_layer(layers.Conv2D(4, 3, name="theirs"))(x)
    x = layers.Flatten()(x)
    with quantize_scope():
        model = apply(keras.Model(inputs, layers.Dense(2)(x)))
    model.compile("adam", "mse", run_eagerly=True)
    data = np.random.default_rng(0).normal(size=(16, 8, 8, 3))
    model.fit(data, np.zeros((16, 2)), verbose=0)
    kernel = model.get_layer("quant_mine").layer.kernel
    assert len(np.unique(np.asarray(model(data)))) > 1
    assert kernel is not None
    with pytest.raises(ModelError, match="theirs"):
        harden(model)


def test_thresholds_follow_the_data_while_training():
    scheme = QuantizeScheme(weight_bits=4, activation_bits=8)
    with quantize_scope():
        model = apply(annotate_model(residual()), scheme)
    with pytest.raises(MPQError, match="still unknown"):
        harden(model)
    x = samples(residual(), 64)
    model.compile("sgd", "mse", run_eagerly=True)
    model.fit(x, np.zeros((64, 5)), verbose=0)
    recipe = harden(model)
    assert {site.grid.bits for site in recipe.weights} == {4}
    assert all(site.grid.is_power_of_two for site in recipe.sites)
    verify(litert.export(model, recipe), model, x).raise_if_different()


def test_a_layer_annotated_by_hand_keeps_its_own_bits_under_our_scheme():
    def annotate(layer):
        return annotate_layer(layer, QuantizeConfig(weight_bits=3) if layer.name == "conv1" else None)

    annotated = keras.models.clone_model(residual(), clone_function=annotate)
    with quantize_scope():
        model = apply(annotated, QuantizeScheme(weight_bits=6))
    x = samples(residual(), 32)
    model(x, training=True)
    assert {site.site: site.grid.bits for site in harden(model).weights} == {
        "conv1.weight": 3,
        "conv2.weight": 6,
        "fc.weight": 6,
    }


def test_bits_to_search_while_training_are_refused():
    with pytest.raises(MPQError, match="fixed bits"):
        QuantizeConfig(weight_bits=(2, 4, 8))


def test_an_unknown_method_is_refused():
    with pytest.raises(MPQError, match="nonsense"):
        QuantizeConfig(method="nonsense")


def test_a_config_survives_its_own_serialization():
    grid = Grid.power_of_two(3, [0, 1], axis=3)
    config = QuantizeConfig(weight_grid=grid, activation_bits=5)
    assert QuantizeConfig.from_config(config.get_config()) == config
    assert config != QuantizeConfig(weight_bits=3, activation_bits=5)


def test_a_float_model_has_nothing_to_harden_and_a_foreign_recipe_fits_nothing():
    with pytest.raises(ModelError, match="quantize it first"):
        harden(residual())
    _, recipe, _, _ = quantized("series")
    with pytest.raises(RecipeMismatch):
        quantize(residual(), recipe)


def test_quantize_takes_calibration_as_constrain_does():
    model = residual()
    x = samples(model)
    recipe = search(model, x, "litert-po2", weight_bits=4, activation_bits=8, progress=False)
    found = quantize(model, recipe, calibration=x)(x)
    np.testing.assert_array_equal(found, quantize(constrain(model, recipe, x), recipe)(x))

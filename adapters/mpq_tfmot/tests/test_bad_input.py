"""What bad input gets: an error of ours that says what is wrong and what to do."""

import importlib
from dataclasses import replace

import numpy as np
import pytest

from mpq_plugins import Grid, plugins
from mpq_plugins.errors import (
    BudgetError,
    EmptyCalibration,
    GridError,
    ModelError,
    MPQError,
    NonFiniteValues,
    RecipeError,
    RecipeMismatch,
    TargetError,
    UnsupportedOp,
)
from mpq_tfmot import constrain, inventory, litert, search, simulate
from mpq_tfmot.keras import keras, tf
from mpq_tfmot.reader.reading import read_model
from mpq_tfmot.tests.networks import NETWORKS, network, residual, samples, series

layers = keras.layers


def test_a_keras_3_model_is_named_as_such():
    keras3 = importlib.import_module("keras")
    model = keras3.Sequential([keras3.Input((3,)), keras3.layers.Dense(2)])
    with pytest.raises(ModelError, match=r"is a Keras 3 model.*tf_keras"):
        inventory(model)


def test_a_subclassed_model_that_was_not_called_or_is_no_graph_of_layers_is_refused():
    class Mine(keras.Model):
        def call(self, x):
            return x if x.shape[1] and tf.reduce_sum(x) > 0 else -x

    mine = Mine()
    with pytest.raises(ModelError, match=r"subclassed model that was not called yet.*call it on a batch first"):
        inventory(mine)
    mine(np.ones((1, 3), np.float32))
    with pytest.raises(ModelError, match=r"subclassed model whose call is no graph of layers.*functional"):
        inventory(mine)


def test_an_unbuilt_model_is_refused():
    with pytest.raises(ModelError, match="not built"):
        inventory(keras.Sequential([layers.Dense(2)]))


def test_something_else_is_refused():
    with pytest.raises(ModelError, match="got int"):
        inventory(3)


def test_a_layer_that_is_called_twice_has_one_weight_and_the_grid_of_both_outputs():
    inputs = keras.Input((4,))
    dense = layers.Dense(4, name="twice")
    sites = inventory(keras.Model(inputs, dense(dense(inputs))))
    assert sites["twice.weight"].macs == 2 * 16
    assert sites["twice.weight"].inputs[1] == "twice"
    assert sites["twice"].group == sites["twice__call1"].group


def test_a_model_without_weights_has_nothing_to_quantize():
    with pytest.raises(ModelError, match=r"nothing|no convolution"):
        inventory(keras.Sequential([keras.Input((4,)), layers.ReLU()]))


def test_an_unknown_op_before_a_weight_is_named_and_one_behind_all_weights_stays_float():
    norm = layers.Activation(tf.nn.log_softmax, name="norm")
    before = keras.Sequential([keras.Input((4,)), norm, layers.Dense(2)])
    with pytest.raises(UnsupportedOp, match="norm: no integer kernel for log_softmax"):
        inventory(before, target="litert-po2")
    assert read_model(before, target=plugins.target("onnxruntime")).graph.float_ops == ("norm",)
    behind = keras.Sequential([keras.Input((4,)), layers.Dense(2), norm])
    assert read_model(behind).graph.float_ops == ("norm",)


def test_search_and_conversion_refuse_a_tail_that_no_kernel_knows():
    tail = layers.Lambda(lambda x: tf.math.cumprod(x, -1), name="tail")
    model = keras.Sequential([keras.Input((4,)), layers.Dense(2, name="fc"), tail])
    with pytest.raises(UnsupportedOp, match=r"tail: (\w+\.)?cumprod would stay float"):
        search(model, samples(model), "litert-po2", weight_bits=8, activation_bits=8)
    recipe = search(model, samples(model), "generic-po2", weight_bits=8, activation_bits=8)
    with pytest.raises(UnsupportedOp, match=r"tail: (\w+\.)?cumprod would stay float"):
        litert.export(model, replace(recipe, target="litert-po2"))


def test_nan_weights_are_named_with_their_layer():
    model = series()
    kernel = model.get_layer("fc").kernel
    kernel.assign(np.full(kernel.shape, np.nan))
    with pytest.raises(NonFiniteValues, match="fc: 32 of 32"):
        inventory(model)


@pytest.mark.parametrize("empty", [[], np.zeros((0, 9, 9, 3), np.float32), iter(())])
def test_an_empty_calibration_set_is_refused(empty):
    with pytest.raises(EmptyCalibration, match="empty"):
        search(residual(), empty, "litert-po2", weight_bits=8, activation_bits=8)


def test_nan_in_the_calibration_data_is_counted():
    x = samples(residual())
    x[0, 0, 0, 0] = np.inf
    with pytest.raises(NonFiniteValues, match="1 NaN or infinite"):
        search(residual(), x, "litert-po2", weight_bits=8, activation_bits=8)


def test_calibration_of_another_shape_is_refused():
    with pytest.raises(ModelError, match="does not fit"):
        search(residual(), np.zeros((4, 5, 5, 3), np.float32), "litert-po2", weight_bits=8, activation_bits=8)


@pytest.mark.parametrize(
    ("verb", "error", "sentence"),
    [
        (lambda model, recipe, x: constrain(model, "recipe.json", x), RecipeError, r"Recipe.load.*'recipe.json'"),
        (lambda model, recipe, x: simulate(model, recipe)(x[0]), ModelError, "no axis of samples"),
        (lambda model, recipe, x: simulate(model, recipe).predict(x[..., :1]), ModelError, "does not fit"),
        (lambda model, recipe, x: litert.verify(None, model, x, recipe), ModelError, "a .tflite file is needed"),
        (lambda model, recipe, x: search(model, x, "litert-po2", per_channel="yes"), MPQError, "per_channel is True"),
    ],
)
def test_what_a_verb_does_not_take_is_said(verb, error, sentence):
    model = series()
    recipe = search(model, samples(model), "litert-po2", weight_bits=8, activation_bits=8)
    with pytest.raises(error, match=sentence):
        verb(model, recipe, samples(model))


def test_keep_float_takes_one_name():
    model, bits = series(), {"weight_bits": 7, "activation_bits": 7}
    recipe = search(model, samples(model), "onnxruntime", keep_float="fc", **bits)
    assert "fc" in recipe.float_ops
    assert not search(model, samples(model), "onnxruntime", keep_float=None, **bits).float_ops


def test_open_bits_without_a_budget_are_refused():
    with pytest.raises(BudgetError, match="budget"):
        search(residual(), samples(residual()), "litert-po2")


def test_a_recipe_for_another_model_is_refused_with_names():
    model = network("residual")
    recipe = search(model, samples(model), "litert-po2", weight_bits=8, activation_bits=8)
    for use in (simulate, constrain, litert.export):
        with pytest.raises(RecipeMismatch, match=r"conv1\.weight"):
            use(series(), recipe)


def test_a_recipe_for_torch_does_not_convert_to_litert():
    model = network("residual")
    recipe = search(model, samples(model), "torch-x86", weight_bits=7, activation_bits=7)
    with pytest.raises(TargetError, match="runs on torch"):
        litert.export(model, recipe)
    with pytest.raises(TargetError, match="has no runtime"):
        litert.export(model, replace(recipe, target="generic-po2"))


def test_a_grid_that_litert_lacks_is_refused_with_its_site():
    model = network("residual")
    recipe = search(model, samples(model), "litert-po2", weight_bits=8, activation_bits=8)
    wide = recipe.with_grids({"conv1": Grid.power_of_two(9, 3, signed=False)})
    with pytest.raises(TargetError, match=r"'conv1'.*bits may be"):
        litert.export(model, wide)


def test_an_output_far_finer_than_its_accumulator_is_named():
    model = network("residual")
    recipe = search(model, samples(model), "litert-po2", weight_bits=8, activation_bits=8, per_channel=False)
    grids = {"conv1": Grid.power_of_two(8, -9, signed=False), "conv1.weight": Grid.power_of_two(8, 4)}
    with pytest.raises(GridError, match="'conv1': its accumulator's step"):
        litert.export(model, recipe.with_grids(grids))


def test_all_zero_weights_get_a_grid():
    model = series()
    kernel = model.get_layer("fc").kernel
    kernel.assign(np.zeros(kernel.shape))
    recipe = search(model, samples(model), "litert-po2", weight_bits=4, activation_bits=8)
    outputs = simulate(constrain(model, recipe, samples(model)), recipe).predict(samples(model))
    assert np.all(np.isfinite(outputs))


def test_every_network_is_readable():
    for make in NETWORKS.values():
        assert len(inventory(make()).weights)

"""Models of unusual shape: several inputs and outputs, ReLUs that nobody can fuse, free steps."""

from dataclasses import replace

import numpy as np
import pytest

import mpq_plugins as mpq
from mpq_tfmot import constrain, litert, search, simulate, verify
from mpq_tfmot.keras import keras
from mpq_tfmot.tests.networks import network, samples, settled

layers = keras.layers


def images(*shape, count=32, seed=0):
    return np.random.default_rng(seed).normal(size=(count, *shape)).astype(np.float32)


def checked(model, inputs, **bits):
    """Search, constrain, convert and verify; returns the mean error relative to the outputs' spread."""
    recipe = search(model, [inputs] if isinstance(inputs, tuple) else inputs, "litert-po2", **bits)
    on_grid = constrain(model, recipe, [inputs] if isinstance(inputs, tuple) else inputs)
    simulated = simulate(on_grid, recipe)
    given = list(inputs) if isinstance(inputs, tuple) else inputs
    verify(litert.export(on_grid, recipe), simulated, given).raise_if_different()
    wanted, got = model(given), simulated(given)
    pairs = zip(wanted, got, strict=True) if isinstance(got, list) else [(wanted, got)]
    return max(float(np.mean(np.abs(w - g)) / np.std(w)) for w, g in pairs)


def test_two_inputs_and_two_outputs_of_which_one_is_read_inside():
    a, b = keras.Input((6, 6, 3), name="a"), keras.Input((5,), name="b")
    x = layers.Conv2D(4, 3, activation="relu", name="conv")(a)
    middle = layers.GlobalAveragePooling2D(name="mean")(x)
    joined = layers.Concatenate(name="cat")([middle, layers.Dense(3, name="side")(b)])
    model = settled(keras.Model([a, b], [layers.Dense(2, name="fc")(joined), middle]))
    assert checked(model, (images(6, 6, 3), images(5)), weight_bits=8, activation_bits=8) < 0.1


def test_two_relus_of_one_convolution_stay_apart():
    inputs = keras.Input((6, 6, 3), name="image")
    x = layers.Conv2D(4, 3, padding="same", name="conv")(inputs)
    y = layers.Add(name="add")([layers.ReLU(name="r")(x), layers.ReLU(1.0, name="r1")(x)])
    model = settled(keras.Model(inputs, layers.Dense(2, name="fc")(layers.Flatten(name="flat")(y))))
    for bits in (4, 8):
        assert checked(model, images(6, 6, 3), weight_bits=8, activation_bits=bits) < 0.5


def test_a_relu_may_be_the_output():
    model = settled(keras.Sequential([keras.Input((4,)), layers.Dense(3, name="fc"), layers.ReLU(name="out")]))
    assert checked(model, images(4), weight_bits=8, activation_bits=8) < 0.1


def test_concatenation_along_height_same_pooling_and_a_dense_layer_on_every_position():
    inputs = keras.Input((6, 5, 3), name="image")
    x = layers.Concatenate(axis=1, name="cat")([inputs, layers.Conv2D(3, 1, name="conv")(inputs)])
    x = layers.MaxPooling2D(3, 2, padding="same", name="max")(x)
    x = layers.AveragePooling2D(2, 2, padding="same", name="average")(x)
    model = settled(keras.Model(inputs, layers.Dense(4, name="fc")(x)))
    assert checked(model, images(6, 5, 3), weight_bits=8, activation_bits=8) < 0.1


@pytest.mark.parametrize("padding", ["same", "valid"])
def test_dilated_and_strided_convolutions(padding):
    inputs = keras.Input((11, 10, 3), name="image")
    x = layers.Conv2D(4, 3, dilation_rate=2, padding=padding, activation="relu", name="dilated")(inputs)
    x = layers.DepthwiseConv2D(3, strides=2, padding=padding, name="strided")(x)
    x = layers.Conv2DTranspose(2, 3, strides=2, padding=padding, name="transposed")(x)
    assert checked(settled(keras.Model(inputs, x)), images(11, 10, 3), weight_bits=8, activation_bits=8) < 0.1


def test_free_steps_of_any_mantissa_run_exactly_on_litert_int8():
    model = network("residual")
    x = samples(model, 32)
    recipe = search(model, x, "litert-int8", weight_bits=8, activation_bits=8)
    free = {name: replace(grid, steps=tuple(step * 0.7 for step in grid.steps)) for name, grid in recipe.items()}
    recipe = recipe.with_grids(free)
    verify(litert.export(model, recipe), simulate(model, recipe), x).raise_if_different()


def test_an_average_budget_and_patterns_of_bits_go_together():
    model = network("residual")
    x = samples(model, 32)
    recipe = search(
        model,
        x,
        "litert-po2",
        mpq.Budget(average_weight_bits=5),
        weight_bits={"fc*": 8, "*": (2, 3, 4, 5, 6)},
        activation_bits=8,
    )
    assert recipe["fc.weight"].bits == 8
    assert recipe.average_weight_bits <= 5

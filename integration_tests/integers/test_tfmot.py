"""A Keras model as integers gives exactly what is simulated, from files, in NumPy and in C."""

import numpy as np
import pytest

from integration_tests.tfmot.recipes import clipping_recipe
from mpq_plugins import Grid
from mpq_plugins.errors import GridError, RecipeMismatch
from mpq_plugins.integers import input_codes, load, output_values, run, save
from mpq_plugins.integers.tests.c_programs import c_outputs, joined
from mpq_tfmot import integers, search, simulate, verify_integers
from mpq_tfmot.keras import keras, tf
from mpq_tfmot.reader.reading import read_model
from mpq_tfmot.tests.networks import NETWORKS, network, residual, samples, settled

layers = keras.layers
CASES = [
    ("litert-po2", (8, 8), False),
    ("litert-po2", (2, 3), True),
    ("litert-po2-reference", (5, 6), True),
    ("generic-po2", (4, 4), False),
    ("generic-po2-per-channel", (3, 7), True),
]


def checked(model, x, target="litert-po2", bits=(5, 6), per_channel=False):
    """Lower, and compare with the simulation on inputs past the thresholds too."""
    recipe = clipping_recipe(model, x, target, *bits, per_channel)
    program = integers(model, recipe)
    found = verify_integers(program, model, recipe, np.concatenate([x * 1.5, x * 4]))
    found.raise_if_different()
    assert found.elements > 0
    return program, recipe


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize(("target", "bits", "per_channel"), CASES)
def test_every_kind_of_network_equals_its_simulation(kind, target, bits, per_channel):
    model = network(kind)
    checked(model, samples(model, 9), target, bits, per_channel)


@pytest.mark.parametrize("kind", NETWORKS)
def test_the_files_alone_give_the_simulations_numbers_in_numpy_and_in_c(kind, tmp_path):
    model = network(kind)
    x = samples(model, 4)
    program, recipe = checked(model, x, "litert-po2", (4, 6), True)
    save(program, tmp_path)
    program = load(tmp_path)
    codes = input_codes(program, x * 2)
    outputs = run(program, codes)
    (values,) = output_values(program, outputs).values()
    (last,) = read_model(model).graph.integer_outputs
    assert np.array_equal(values, simulate(model, recipe).sites(x * 2)[last])
    assert np.array_equal(c_outputs(program, codes, tmp_path / "c"), joined(program, outputs))


def shapes():
    inputs = keras.Input((11, 10, 3), name="image")
    x = layers.Conv2D(4, 3, dilation_rate=2, padding="same", activation="relu", name="dilated")(inputs)
    x = layers.MaxPooling2D(3, 2, padding="same", name="max")(x)
    x = layers.AveragePooling2D(2, 2, padding="same", name="average")(x)
    y = layers.DepthwiseConv2D(3, strides=2, padding="same", name="strided")(x)
    y = layers.Conv2DTranspose(4, 3, strides=2, padding="valid", name="transposed")(y)
    x = layers.Concatenate(axis=1, name="cat")([layers.ZeroPadding2D(((0, 0), (1, 1)), name="pad")(x), y])
    x = layers.UpSampling2D((2, 1), name="up")(x)
    x = layers.Permute((3, 1, 2), name="permute")(x)
    return settled(keras.Model(inputs, layers.Dense(4, name="fc")(layers.GlobalAveragePooling2D(name="mean")(x))))


def crossing_relus():
    inputs = keras.Input((6, 6, 3), name="image")
    x = layers.Conv2D(4, 3, padding="same", name="conv")(inputs)
    y = layers.Add(name="add")([layers.ReLU(name="r")(x), layers.ReLU(1.0, name="r1")(x)])
    return settled(keras.Model(inputs, layers.Dense(2, name="fc")(layers.Flatten(name="flat")(y))))


@pytest.mark.parametrize("target", ["litert-po2", "litert-po2-reference"])
@pytest.mark.parametrize("build", [shapes, crossing_relus])
def test_unusual_shapes_equal_their_simulation(build, target, tmp_path):
    model = build()
    x = samples(model, 6)
    for bits in ((8, 8), (3, 4)):
        program, _ = checked(model, x, target, bits)
    codes = input_codes(program, x)
    assert np.array_equal(c_outputs(program, codes, tmp_path), joined(program, run(program, codes)))


def test_sums_past_24_bits_round_as_xnnpacks_float32_does():
    model = keras.Sequential([keras.Input((1500,), name="x"), layers.Dense(64, name="a"), layers.Dense(3, name="b")])
    rng = np.random.default_rng(0)
    model.layers[0].kernel.assign(rng.uniform(0.1, 1, (1500, 64)))
    x = rng.uniform(0.1, 1, (64, 1500)).astype(np.float32)
    program, _ = checked(model, x, "litert-po2", (8, 8))
    assert program.steps[0].stages[0].kind == "significant"


def test_two_inputs_and_two_outputs_of_which_one_is_read_inside():
    a, b = keras.Input((6, 6, 3), name="a"), keras.Input((5,), name="b")
    x = layers.Conv2D(4, 3, activation="relu", name="conv")(a)
    middle = layers.GlobalAveragePooling2D(name="mean")(x)
    joint = layers.Concatenate(name="cat")([middle, layers.Dense(3, name="side")(b)])
    model = settled(keras.Model([a, b], [layers.Dense(2, name="fc")(joint), middle]))
    rng = np.random.default_rng(0)
    inputs = [(rng.normal(size=(8, 6, 6, 3)).astype(np.float32), rng.normal(size=(8, 5)).astype(np.float32))]
    recipe = search(model, inputs, "litert-po2", weight_bits=8, activation_bits=8)
    program = integers(model, recipe)
    assert program.outputs == ("fc", "mean")
    verify_integers(program, model, recipe, inputs).raise_if_different()


def test_a_recipe_of_another_model_is_refused_with_names():
    other = network("series")
    recipe = clipping_recipe(other, samples(other), "litert-po2", 8, 8)
    with pytest.raises(RecipeMismatch, match="conv1"):
        integers(residual(), recipe)


def test_free_steps_are_refused_by_name():
    model = network("residual")
    recipe = search(model, samples(model, 32), "litert-int8", weight_bits=8, activation_bits=8)
    free = recipe.with_grids({"fc.weight": Grid(8, (0.3,))})
    with pytest.raises(GridError, match=r"of 9 sites have steps that are no powers of two.*generic-po2"):
        integers(model, free)


def test_a_model_with_an_op_without_an_integer_form_fits_no_recipe_and_the_op_is_named():
    inputs = keras.Input((6,), name="x")
    x = layers.Lambda(lambda x: tf.cumsum(x, -1), name="norm")(layers.Dense(4, name="a")(inputs))
    model = settled(keras.Model(inputs, layers.Dense(3, name="b")(x)))
    other = network("residual")
    with pytest.raises(RecipeMismatch, match="norm: "):
        integers(model, clipping_recipe(other, samples(other), "litert-po2", 8, 8))

"""What a Keras engineer does with ONNX: the same file format, exact against mpq_tfmot's simulation."""

import numpy as np
import pytest

import mpq_plugins as mpq
from integration_tests.tfmot.recipes import clipping_recipe
from mpq_plugins.exporters.onnx.running import load, run, session
from mpq_tfmot import constrain, integers, search, simulate, to_litert, to_onnx, verify_integers, verify_onnx
from mpq_tfmot.keras import keras
from mpq_tfmot.tests.networks import NETWORKS, samples, settled

TARGET = "onnxruntime"
TRANSPOSED = "branches"
"""The network whose transposed convolution has one step only."""


def check(model, x, recipe, **options):
    content, simulated = to_onnx(model, recipe, **options), simulate(model, recipe)
    for optimized in (True, False):
        verify_onnx(content, simulated, x * 2, optimized=optimized).raise_if_different()
    return content, simulated


@pytest.mark.parametrize("weight_bits", range(2, 9))
def test_every_pair_of_bits_is_exact_on_a_depthwise_network(weight_bits):
    model = NETWORKS["mobile"]()
    x = samples(model, count=5)
    for activation_bits in range(2, 9):
        per_channel = (weight_bits + activation_bits) % 2 == 0
        recipe = clipping_recipe(model, x, TARGET, weight_bits, activation_bits, per_channel)
        check(model, x, recipe, symmetric=per_channel, opset=25 if weight_bits == 2 else 21)


@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize(("weight_bits", "activation_bits"), [(8, 8), (2, 3), (5, 6)])
def test_every_kind_of_network_is_exact(kind, weight_bits, activation_bits):
    model = NETWORKS[kind]()
    x = samples(model)
    for per_channel in (False, kind != TRANSPOSED):
        check(model, x, clipping_recipe(model, x, TARGET, weight_bits, activation_bits, per_channel))


@pytest.mark.parametrize("kind", ["mobile", TRANSPOSED, "series"])
def test_the_integer_program_of_the_recipe_says_the_same(kind):
    model = NETWORKS[kind]()
    x = samples(model)
    recipe = clipping_recipe(model, x, TARGET, 4, 4)
    verify_integers(integers(model, recipe), model, recipe, x).raise_if_different()


def test_strides_dilation_and_same_padding_are_keras_own():
    layers = keras.layers
    x = inputs = keras.Input((11, 14, 3))
    x = layers.Conv2D(6, 3, strides=(2, 3), padding="same", activation="relu", name="strided")(x)
    x = layers.Conv2D(6, 3, dilation_rate=2, padding="same", name="dilated")(x)
    x = layers.DepthwiseConv2D(2, strides=2, padding="same", name="depthwise")(x)
    x = layers.Conv2DTranspose(4, 3, strides=2, padding="valid", name="up")(x)
    x = layers.MaxPooling2D(3, strides=2, padding="same", name="pool")(x)
    model = settled(keras.Model(inputs, layers.Dense(5, name="output")(x)))
    x = samples(model)
    content, simulated = check(model, x, clipping_recipe(model, x, TARGET, 5, 6))
    (got,) = run(session(content), [x])
    np.testing.assert_array_equal(got, np.asarray(simulated(x)))


def test_a_searched_recipe_becomes_a_file_that_runs_exactly(tmp_path):
    model = NETWORKS["mobile"]()
    x = samples(model, count=32)
    recipe = search(model, x, TARGET, mpq.Budget(average_weight_bits=4), activation_bits=6, progress=False)
    on_grid = constrain(model, recipe, x)
    content = to_onnx(on_grid, recipe, tmp_path / "mobile.onnx")
    assert (tmp_path / "mobile.onnx").read_bytes() == content
    verify_onnx(tmp_path / "mobile.onnx", simulate(on_grid, recipe), x).raise_if_different()
    proto = load(content)
    assert [d.dim_param or d.dim_value for d in proto.graph.input[0].type.tensor_type.shape.dim] == ["batch", 8, 8, 3]


def test_verify_says_which_site_differs_first():
    model = NETWORKS["residual"]()
    x = samples(model)
    recipe = clipping_recipe(model, x, TARGET, 4, 8)
    content = to_onnx(model, recipe)
    layer = model.get_layer("conv2")
    kernel, bias = layer.get_weights()
    layer.set_weights([-kernel, bias])
    verification = verify_onnx(content, simulate(model, recipe), x)
    assert not verification
    assert verification.first_differing_site == "conv2"


def test_a_float_tail_stays_float_and_what_onnx_lacks_is_refused_by_name():
    model = NETWORKS["residual"]()
    x = samples(model)
    content, simulated = check(model, x, clipping_recipe(model, x, TARGET, 4, 6))
    (got,) = run(session(content), [x])
    np.testing.assert_allclose(got, np.asarray(simulated(x)), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(got.sum(-1), 1, rtol=1e-5)
    inputs = keras.Input((4,))
    y = keras.layers.Softmax(axis=1, name="other_axis")(keras.layers.Reshape((3, 2))(keras.layers.Dense(6)(inputs)))
    model = settled(keras.Model(inputs, y))
    with pytest.raises(mpq.UnsupportedOp, match=r"other_axis: Softmax at the end of the model has no ONNX form here"):
        to_onnx(model, clipping_recipe(model, samples(model), TARGET, 4, 6))


def test_a_recipe_of_another_target_is_refused_both_ways(tmp_path):
    model = NETWORKS["residual"]()
    x = samples(model)
    recipe = clipping_recipe(model, x, "litert-po2", 4, 8)
    with pytest.raises(mpq.TargetError, match=r"'litert-po2' may round otherwise .*target='onnxruntime'"):
        to_onnx(model, recipe)
    recipe = clipping_recipe(model, x, TARGET, 4, 8)
    with pytest.raises(mpq.TargetError, match="not on LiteRT"):
        to_litert(model, recipe)
    with pytest.raises(mpq.ModelError, match="opset 20 is too old"):
        to_onnx(model, recipe, opset=20)
    with pytest.raises(mpq.ModelError, match="cannot write the ONNX model"):
        to_onnx(model, recipe, tmp_path / "none" / "model.onnx")
    with pytest.raises(mpq.ModelError, match=r"mpq_tfmot\.simulate"):
        verify_onnx(to_onnx(model, recipe), model, x)

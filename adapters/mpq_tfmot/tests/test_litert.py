"""The flatbuffer: integer ops only, packed weights, and a verification that finds what differs."""

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

import mpq_tfmot
from integration_tests.tfmot.recipes import clipping_recipe
from mpq_plugins.errors import ModelError, UnsupportedOp, VerificationError
from mpq_plugins.exporters.litert.running import interpreter, run_litert
from mpq_tfmot import litert, simulate, sizes, verify
from mpq_tfmot.keras import keras, tf
from mpq_tfmot.tests.networks import network, residual, samples, settled

FLOAT = schema.TensorType.FLOAT32


def graph_of(flat):
    return schema.ModelT.InitFromPackedBuf(bytearray(flat), 0)


def float_ops(flat):
    """Names of the ops that read and write floats."""
    model = graph_of(flat)
    graph = model.subgraphs[0]
    names = {v: k for k, v in vars(schema.BuiltinOperator).items() if isinstance(v, int)}
    kinds = [tensor.type for tensor in graph.tensors]
    return [
        names[model.operatorCodes[op.opcodeIndex].builtinCode]
        for op in graph.operators
        if all(kinds[i] == FLOAT for i in (*op.inputs, *op.outputs))
    ]


@pytest.mark.parametrize("kind", ["mobile", "series", "nested"])
def test_no_op_computes_on_floats(kind):
    model = network(kind)
    flat = litert.export(model, clipping_recipe(model, samples(model), "litert-po2", 5, 6))
    assert float_ops(flat) == []


def test_a_softmax_at_the_end_is_the_only_float_op_and_gives_probabilities():
    model = network("residual")
    x = samples(model)
    recipe = clipping_recipe(model, x, "litert-po2", 8, 8)
    flat = litert.export(model, recipe)
    assert float_ops(flat) == ["SOFTMAX"]
    np.testing.assert_allclose(run_litert(flat, x)[0], simulate(model, recipe).predict(x), atol=1e-6)


@pytest.mark.parametrize("target", ["litert-po2", "litert-po2-reference"])
def test_packing_makes_the_file_smaller_and_changes_no_number(target):
    model = network("mobile")
    x = samples(model)
    recipe = clipping_recipe(model, x, target, 3, 6, per_channel=True)
    packed, plain = litert.export(model, recipe), litert.export(model, recipe, pack=False)
    saved = 16 * 8 + 8 * 16 + 8 * 4  # the pointwise and dense weights, of which half the bytes go
    assert len(plain) - len(packed) >= saved // 2 - 64
    np.testing.assert_array_equal(
        run_litert(packed, x, simulate(model, recipe).quantized.runtime.engine)[0],
        run_litert(plain, x, simulate(model, recipe).quantized.runtime.engine)[0],
    )


def test_sizes_say_what_the_file_holds_and_what_the_bits_alone_need():
    model = network("residual")
    recipe = clipping_recipe(model, samples(model), "litert-po2", 3, 6)
    flat = litert.export(model, recipe)
    found = sizes(flat, recipe)
    # 3x3x3x8 and 3x3x8x8 int8 codes of the convolutions, and 72x5 int4 codes of the dense layer
    assert found.weight_bytes_stored == 216 + 576 + 180
    assert found.weight_bytes_of_bits == (216 + 576 + 360) * 3 / 8
    assert found.file_bytes == len(flat)
    assert "972" in str(found)


def test_verify_names_the_first_site_that_differs():
    model = residual()
    x = samples(model)
    recipe = clipping_recipe(model, x, "litert-po2", 8, 8)
    flat = litert.export(model, recipe)
    weight, bias = model.get_layer("conv2").get_weights()
    model.get_layer("conv2").set_weights([weight + 0.1, bias])
    found = verify(flat, simulate(model, recipe), x)
    assert not found
    assert found.first_differing_site == "conv2"
    with pytest.raises(VerificationError, match="conv2"):
        found.raise_if_different()


def test_verify_refuses_a_float_model_function():
    model = network("residual")
    recipe = clipping_recipe(model, samples(model), "litert-po2", 8, 8)
    with pytest.raises(ModelError, match="simulate"):
        verify(litert.export(model, recipe), lambda x: x, samples(model))


def test_the_reference_kernels_differ_from_xnnpack_and_verify_counts_by_how_much():
    model = network("residual")
    x = samples(model, 64)
    recipe = clipping_recipe(model, x, "litert-po2", 4, 4)
    found = verify(litert.export(model, recipe), simulate(model, recipe), x, kernels="builtin")
    assert not found.exact
    assert found.off_by_one > 0


def convolved(end, name="image"):
    """A convolution, and what is made of its output."""
    inputs = keras.Input((5, 4, 3), name=name)
    return settled(keras.Model(inputs, end(keras.layers.Conv2D(6, 3, name="conv")(inputs))))


@pytest.mark.parametrize(
    "end",
    [
        keras.layers.Softmax(axis=1, name="soft"),
        keras.layers.Softmax(name="soft"),
        lambda y: tf.nn.softmax(y, axis=2),
        lambda y: tf.nn.softmax(y),
        keras.layers.Activation("softmax", name="soft"),
    ],
)
def test_a_softmax_runs_along_the_axis_that_the_model_names(end):
    model = convolved(end)
    x = samples(model)
    recipe = clipping_recipe(model, x, "litert-po2", 8, 8)
    got = run_litert(litert.export(model, recipe), x)[0]
    np.testing.assert_allclose(got, simulate(model, recipe).predict(x), atol=1e-6)


def test_a_float_end_that_is_not_known_is_refused_by_name():
    model = convolved(lambda y: tf.math.cumprod(y, axis=1))
    recipe = clipping_recipe(model, samples(model), "litert-po2", 8, 8)
    with pytest.raises(UnsupportedOp, match="cumprod would stay float"):
        litert.export(model, recipe)


def test_the_signature_has_the_names_of_the_models_inputs_and_outputs():
    inputs = keras.Input((4,), name="features")
    hidden = keras.layers.Dense(3, activation="relu", name="hidden")(inputs)
    scores = keras.layers.Dense(2, activation="softmax", name="scores")(hidden)
    model = settled(keras.Model(inputs, [scores, hidden]))
    flat = litert.export(model, clipping_recipe(model, samples(model), "litert-po2", 8, 8))
    assert interpreter(flat).get_signature_list() == {
        "serving_default": {"inputs": ["features"], "outputs": ["hidden", "scores"]}
    }


def test_export_writes_the_file_that_verify_reads(tmp_path):
    model = network("residual")
    x = samples(model)
    recipe = clipping_recipe(model, x, "litert-po2", 5, 6)
    flat = litert.export(model, recipe, x, tmp_path / "m.tflite")
    assert flat == litert.export(model, recipe) == (tmp_path / "m.tflite").read_bytes()
    litert.verify(flat, model, x, recipe).raise_if_different()
    verify(tmp_path / "m.tflite", simulate(model, recipe), x).raise_if_different()
    with pytest.raises(ModelError, match=r"gone\.tflite cannot be read: No such file"):
        verify(str(tmp_path / "gone.tflite"), model, x, recipe)


def test_old_names_are_taken_with_a_warning():
    model = network("residual")
    x = samples(model)
    recipe = clipping_recipe(model, x, "litert-po2", 5, 6)
    with pytest.warns(DeprecationWarning, match=r"mpq_tfmot\.to_litert is now mpq_tfmot\.litert\.export"):
        flat = mpq_tfmot.to_litert(model, recipe)
    assert flat == litert.export(model, recipe)
    with pytest.warns(DeprecationWarning, match="argument 'flat' of verify is now called 'converted'"):
        mpq_tfmot.verify(flat=flat, simulated=model, inputs=x, recipe=recipe).raise_if_different()
    with pytest.warns(DeprecationWarning, match="argument 'flat' of verify is now called 'exported'"):
        litert.verify(flat=flat, simulated=model, inputs=x, recipe=recipe).raise_if_different()


def test_batches_of_inputs_are_compared_all_of_them():
    model = network("residual")
    x = samples(model, 12)
    recipe = clipping_recipe(model, x, "litert-po2", 5, 6)
    found = [litert.verify(litert.export(model, recipe), model, given, recipe) for given in (x, [x[:5], x[5:]])]
    assert found[0] == found[1]


@pytest.mark.parametrize("bits", range(2, 9))
def test_transposed_convolutions_with_signed_outputs_are_exact_ties_included(bits):
    inputs = keras.Input((6, 5, 4), name="image")
    x = keras.layers.Conv2DTranspose(19, 3, 2, padding="same", name="up")(inputs)
    model = settled(keras.Model(inputs, x))
    images = samples(model, 64)
    recipe = clipping_recipe(model, images, "litert-po2", bits, bits)
    litert.verify(litert.export(model, recipe), model, images, recipe).raise_if_different()

"""Reading Keras models: what is folded, fused, flattened and split, and that the function stays."""

import numpy as np
import pytest

from integration_tests.tfmot.recipes import float_values
from mpq_tfmot.canonical import canonicalize
from mpq_tfmot.keras import keras
from mpq_tfmot.rebuilding import rebuild
from mpq_tfmot.tests.networks import NETWORKS, hard_swish, samples

layers = keras.layers


@pytest.mark.parametrize("kind", NETWORKS)
def test_the_canonical_model_computes_what_keras_computes(kind):
    model = NETWORKS[kind]()
    canonical = canonicalize(model)
    x = samples(model)
    got = float_values(canonical, x)[canonical.outputs[0]]
    np.testing.assert_allclose(got, model(x), atol=1e-5)


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_rebuilt_model_computes_the_same_and_has_the_same_ops(kind):
    model = NETWORKS[kind]()
    canonical = canonicalize(model)
    x = samples(model)
    with keras.utils.custom_object_scope({"hard_swish": hard_swish}):
        rebuilt = rebuild(canonical)
    np.testing.assert_allclose(rebuilt(x), model(x), atol=1e-5)
    again = canonicalize(rebuilt)
    assert [(op.name, op.kind, op.low, op.high) for op in again.ops] == [
        (op.name, op.kind, op.low, op.high) for op in canonical.ops
    ]


def test_batch_norms_are_folded_and_relus_fused():
    ops = {op.name: op for op in canonicalize(NETWORKS["residual"]()).ops}
    assert list(ops) == ["image", "conv1", "conv2", "add", "pool", "flatten", "fc", "fc.activation"]
    assert (ops["conv1"].low, ops["conv2"].low, ops["add"].low) == (0.0, None, 0.0)
    assert ops["fc.activation"].kind == "float"


def test_dropout_disappears_and_relu6_keeps_its_bound():
    ops = {op.name: op for op in canonicalize(NETWORKS["mobile"]()).ops}
    assert "drop" not in ops
    assert (ops["expand"].low, ops["expand"].high) == (0.0, 6.0)
    assert ops["stem_swish"].kind == "lookup"


def test_nested_models_are_flattened_under_their_names():
    names = [op.name for op in canonicalize(NETWORKS["nested"]()).ops]
    assert "block.conv" in names
    assert "block.add" in names


def test_a_separable_convolution_becomes_two_and_a_lonely_batch_norm_a_depthwise_one():
    ops = {op.name: op.kind for op in canonicalize(NETWORKS["branches"]()).ops}
    assert ops["separable.depthwise"] == "depthwise_conv2d"
    assert ops["separable.pointwise"] == "conv2d"
    assert ops["norm"] == "depthwise_conv2d"


def test_the_operators_of_keras_tensors_are_ops_too():
    inputs = keras.Input((4,), name="x")
    a = layers.Dense(3, name="a")(inputs)
    total = keras.activations.relu(layers.Dense(3, name="b")(inputs) + a)
    model = keras.Model(inputs, layers.Dense(2, name="c")(total))
    canonical = canonicalize(model)
    assert [op.kind for op in canonical.ops] == ["input", "linear", "linear", "add", "linear"]
    assert canonical.ops[3].low == 0.0
    x = samples(model)
    np.testing.assert_allclose(float_values(canonical, x)["c"], model(x), atol=1e-5)

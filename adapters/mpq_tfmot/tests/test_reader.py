"""Reading Keras models: what is folded, fused, flattened and split, and that the function stays."""

import numpy as np
import pytest

from integration_tests.tfmot.recipes import float_values
from mpq_plugins import plugins
from mpq_plugins.errors import ModelError
from mpq_tfmot.keras import keras, tf
from mpq_tfmot.reader.reading import read_model
from mpq_tfmot.reader.writing import write_model
from mpq_tfmot.tests.networks import NETWORKS, hard_swish, network, samples

layers = keras.layers


def nodes_of(model):
    """The nodes on grids, by site."""
    return {node.site: node for node in read_model(model).graph.nodes if node.op != "argument"}


@pytest.mark.parametrize("kind", NETWORKS)
def test_the_graph_computes_what_keras_computes(kind):
    model = network(kind)
    reading = read_model(model)
    x = samples(model)
    got = float_values(reading, x)[reading.graph.outputs[0]]
    np.testing.assert_allclose(got, model(x), atol=1e-5)


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_written_model_computes_the_same_and_is_read_as_the_same_graph(kind):
    model = network(kind)
    reading = read_model(model)
    x = samples(model)
    with keras.utils.custom_object_scope({"hard_swish": hard_swish}):
        written = write_model(reading)
    np.testing.assert_allclose(written(x), model(x), atol=1e-5)
    again = read_model(written).graph
    assert [(n.name, n.op, n.inputs, n.shape, n.low, n.high) for n in again.nodes] == [
        (n.name, n.op, n.inputs, n.shape, n.low, n.high) for n in reading.graph.nodes
    ]


def test_batch_norms_are_folded_and_relus_fused():
    nodes = nodes_of(network("residual"))
    assert list(nodes) == ["image", "conv1", "conv2", "add", "pool", "flatten", "fc", "fc.activation"]
    assert (nodes["conv1"].low, nodes["conv2"].low, nodes["add"].low) == (0.0, None, 0.0)
    assert nodes["fc.activation"].op == "float"


def test_dropout_disappears_and_relu6_keeps_its_bound():
    nodes = nodes_of(network("mobile"))
    assert "drop" not in nodes
    assert (nodes["expand"].low, nodes["expand"].high) == (0.0, 6.0)
    assert nodes["stem_swish"].op == "hardswish"


def test_nested_models_are_flattened_under_their_names():
    assert {"block.conv", "block.add"} <= set(nodes_of(network("nested")))


def test_a_layer_that_is_called_in_two_nested_models_is_read_again_as_it_was_written():
    inner = keras.Sequential([keras.Input((6, 6, 3)), layers.Conv2D(3, 3, name="conv")], name="inner")
    outer = keras.Sequential([keras.Input((6, 6, 3)), inner, layers.Conv2D(3, 1, name="last")], name="outer")
    inputs = keras.Input((6, 6, 3))
    reading = read_model(keras.Model(inputs, layers.Add(name="add")([inner(inputs), outer(inputs)])))
    names = [node.name for node in reading.graph.nodes]
    assert names[2:] == ["inner.conv", "inner.conv__call1", "outer.last", "add"]
    assert [node.name for node in read_model(write_model(reading)).graph.nodes] == names


def test_a_function_that_ends_in_float_is_written_under_the_name_of_its_layer():
    def quotient(x):
        return (x - tf.reduce_mean(x, [1, 2], keepdims=True)) / (tf.reduce_max(x, [1, 2], keepdims=True) + 4.0)

    inner = layers.Lambda(quotient, name="lambda")
    model = keras.Sequential([keras.Input((4, 4, 3)), layers.Conv2D(3, 1), inner, layers.Conv2D(2, 1)])
    target = plugins.target("onnxruntime")
    reading = read_model(model, target=target)
    assert reading.graph.float_ops[-1] == "lambda"
    assert read_model(write_model(reading), target=target).graph.float_ops == reading.graph.float_ops


def test_a_separable_convolution_becomes_two_and_a_lonely_batch_norm_a_depthwise_one():
    nodes = nodes_of(network("branches"))
    assert nodes["separable.depthwise"].op == "depthwise_conv2d"
    assert nodes["separable.pointwise"].op == "conv2d"
    assert nodes["norm"].op == "depthwise_conv2d"


def test_the_operators_of_keras_tensors_are_nodes_too():
    inputs = keras.Input((4,), name="x")
    a = layers.Dense(3, name="a")(inputs)
    total = keras.activations.relu(layers.Dense(3, name="b")(inputs) + a)
    model = keras.Model(inputs, layers.Dense(2, name="c")(total))
    reading = read_model(model)
    assert [node.op for node in reading.graph.nodes] == ["argument", "input", "linear", "linear", "add", "linear"]
    assert reading.graph.nodes[4].low == 0.0
    x = samples(model)
    np.testing.assert_allclose(float_values(reading, x)["c"], model(x), atol=1e-5)


def test_two_clamps_behind_a_layer_become_one():
    model = keras.Sequential(
        [keras.Input((4,)), layers.Dense(3, name="fc"), layers.ReLU(6.0), layers.ReLU(1.5), layers.Dense(2)]
    )
    assert (nodes_of(model)["fc"].low, nodes_of(model)["fc"].high) == (0.0, 1.5)


def test_a_function_of_a_known_name_that_computes_another_one_is_not_taken_for_it():
    def sigmoid(x):
        return x * 2.0

    model = keras.Sequential([keras.Input((4,)), layers.Dense(3), layers.Activation(sigmoid, name="odd")])
    assert read_model(model).graph.float_ops == ("odd",)


def test_an_input_of_an_open_size_is_refused_by_name():
    inputs = keras.Input((None, None, 3), name="image")
    model = keras.Model(inputs, layers.Conv2D(2, 3)(inputs))
    with pytest.raises(ModelError, match=r"input 'image' has the open shape \(None, None, None, 3\)"):
        read_model(model)


def test_a_model_without_a_weight_is_refused():
    with pytest.raises(ModelError, match="no convolution or linear layer"):
        read_model(keras.Sequential([keras.Input((4,)), layers.ReLU()]))

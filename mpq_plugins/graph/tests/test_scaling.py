"""Constants folded into layers, and those that become tables or layers: the same function, computed by hand."""

import numpy as np
import pytest

from mpq_plugins import plugins
from mpq_plugins.graph.constants import AFFINE, SUB, power, with_constant
from mpq_plugins.graph.node import ARGUMENT, BATCH_NORM, Batch, Graph, Node
from mpq_plugins.graph.reading import settled

X86, LITERT = plugins.target("torch-x86"), plugins.target("litert-po2")
IMAGE, VECTOR = (Batch(), 2, 4, 4), (Batch(), 2)
PLAIN = {"stride": (1, 1), "padding": ((0, 0), (0, 0)), "dilation": (1, 1), "groups": 1}
PADDED = {**PLAIN, "padding": ((1, 1), (1, 1))}
WEIGHT = np.arange(1.0, 5.0).reshape(2, 2, 1, 1)


def affine(name, scale=1.0, offset=0.0, axis=None, shape=IMAGE):
    along = {} if axis is None else {"axis": axis}
    return Node(name, AFFINE, (), shape, attrs={"scale": scale, "offset": offset, **along})


def conv(name, weight=WEIGHT, bias=None, **attrs):
    return Node(name, "conv2d", (), IMAGE, np.asarray(weight), bias, attrs={**PLAIN, **attrs})


def clamp(name, low=0.0, high=None):
    return Node(name, "clamp", (), IMAGE, low=low, high=high)


def chain(*nodes, target=None, layout="NCHW", fold=True):
    """The settled graph of nodes one behind another; its nodes behind the input's."""
    made = [Node("x", ARGUMENT, (), nodes[0].shape, attrs={"index": 0})]
    for node in nodes:
        made.append(Node(**{**vars(node), "inputs": (made[-1].name,)}))
    graph = settled(Graph(tuple(made), (made[-1].name,), layout), target=target, fold=fold)
    return [node for node in graph.nodes if node.op not in (ARGUMENT, "input")]


def test_a_factor_and_a_shift_behind_a_layer_go_into_its_weight_and_bias():
    (layer,) = chain(conv("c", bias=np.array([1.0, 2.0])), affine("a", 3.0), affine("b", offset=0.5))
    np.testing.assert_array_equal(layer.weight, 3 * WEIGHT)
    np.testing.assert_array_equal(layer.bias, [3.5, 6.5])
    assert layer.attrs["fused"] == ("a", "b")


def test_factors_of_channels_behind_a_layer_go_into_its_output_channels():
    (layer,) = chain(conv("c"), affine("a", np.array([2.0, -1.0]), np.array([0.0, 4.0]), axis=1))
    np.testing.assert_array_equal(layer.weight[:, :, 0, 0], [[2, 4], [-3, -4]])
    np.testing.assert_array_equal(layer.bias, [0, 4])


def test_factors_behind_an_order_of_axes_go_into_the_layer_in_front_of_it():
    moved = Node("moved", "transpose", (), (Batch(), 4, 2, 4), attrs={"order": (0, 3, 1, 2)})
    layer, order = chain(conv("c"), moved, affine("a", np.array([2.0, -1.0]), axis=2, shape=moved.shape))
    np.testing.assert_array_equal(layer.weight[:, :, 0, 0], [[2, 4], [-3, -4]])
    assert (order.op, order.inputs) == ("transpose", ("c",))


def test_factors_and_shifts_that_several_layers_alone_read_go_into_all_of_them():
    nodes = [
        Node("x", ARGUMENT, (), VECTOR, attrs={"index": 0}),
        Node("a", AFFINE, ("x",), VECTOR, attrs={"scale": np.array([2.0, 10.0]), "offset": 1.0, "axis": 1}),
        *(Node(name, "linear", ("a",), VECTOR, WEIGHT[:, :, 0, 0]) for name in ("q", "k")),
    ]
    graph = settled(Graph(tuple(nodes), ("q", "k"), "NCHW"))
    for name in ("q", "k"):
        np.testing.assert_array_equal(graph[name].weight, [[2, 20], [6, 40]])
        np.testing.assert_array_equal(graph[name].bias, [3, 7])
    assert "a" not in graph


def test_a_positive_factor_passes_a_clamp_and_scales_its_bounds():
    (layer,) = chain(conv("c"), clamp("relu6", 0.0, 6.0), affine("a", 0.5))
    np.testing.assert_array_equal(layer.weight, WEIGHT / 2)
    assert (layer.low, layer.high) == (0.0, 3.0)


@pytest.mark.parametrize("node", [affine("a", -0.5), affine("a", 0.5, 1.0), affine("a", 0.0)])
def test_what_does_not_pass_a_clamp_is_a_table_where_there_are_tables_and_a_layer_elsewhere(node):
    _, table = chain(conv("c"), clamp("relu"), node, target=LITERT)
    assert (table.op, table.attrs["scale"], table.attrs["offset"]) == (
        AFFINE, node.attrs["scale"], node.attrs["offset"],
    )  # fmt: skip
    _, layer = chain(conv("c"), clamp("relu"), node, target=X86)
    assert (layer.op, layer.attrs["groups"]) == ("depthwise_conv2d", 2)
    np.testing.assert_array_equal(layer.weight.ravel(), [node.attrs["scale"]] * 2)
    np.testing.assert_array_equal(layer.biases, [node.attrs["offset"]] * 2)


def test_a_factor_in_front_of_a_layer_goes_into_its_input_channels_through_padding_too():
    pad = Node("pad", "pad", (), (Batch(), 2, 6, 6), attrs={"pads": ((0, 0), (0, 0), (1, 1), (1, 1))})
    factors = affine("a", np.array([2.0, 10.0]), axis=1)
    for nodes in ((factors, conv("c", **PADDED)), (factors, pad, conv("c"))):
        layer = chain(*nodes)[-1]
        np.testing.assert_array_equal(layer.weight[:, :, 0, 0], [[2, 20], [6, 40]])
        assert layer.bias is None


def test_factors_with_a_reshape_between_them_go_into_the_layer_behind_at_one_reading():
    summed = Node("summed", "max_pool", (), IMAGE, attrs={**PLAIN, "kernel": (1, 1)})
    moved = Node("moved", "reshape", (), IMAGE)
    *_, layer = made = chain(summed, affine("a", 3.0), moved, affine("b", 0.5), conv("c"))
    assert not any(node.op == AFFINE for node in made)
    np.testing.assert_array_equal(layer.weight, 1.5 * WEIGHT)


def test_a_shift_in_front_of_a_layer_that_pads_nothing_goes_into_its_bias():
    (layer,) = chain(affine("a", 2.0, np.array([1.0, -1.0]), axis=1), conv("c"))
    np.testing.assert_array_equal(layer.weight, 2 * WEIGHT)
    np.testing.assert_array_equal(layer.bias, [1 - 2, 3 - 4])


def test_a_shift_in_front_of_padding_stays_in_front_of_it():
    shifted, layer = chain(affine("a", 2.0, np.array([1.0, -1.0]), axis=1), conv("c", **PADDED))
    assert (shifted.op, layer.bias) == ("depthwise_conv2d", None)
    np.testing.assert_array_equal(shifted.weight.ravel(), [2, 2])
    np.testing.assert_array_equal(shifted.bias, [1, -1])


def test_factors_in_front_of_a_grouped_layer_go_to_the_channels_of_each_group():
    weight = np.ones((4, 2, 1, 1))
    shape = (Batch(), 4, 4, 4)
    factors = affine("a", np.array([1.0, 2.0, 3.0, 4.0]), np.array([0.0, 0.0, 1.0, 0.0]), 1, shape)
    (layer,) = chain(factors, Node("c", "conv2d", (), shape, weight, attrs={**PLAIN, "groups": 2}))
    np.testing.assert_array_equal(layer.weight[:, :, 0, 0], [[1, 2], [1, 2], [3, 4], [3, 4]])
    np.testing.assert_array_equal(layer.bias, [0, 0, 1, 1])


def test_a_constant_behind_a_batch_norm_goes_into_it_whether_or_not_it_is_folded():
    statistics = {"gamma": np.ones(2), "beta": np.ones(2), "mean": np.zeros(2), "variance": np.ones(2) - 0.5}
    norm = Node("bn", BATCH_NORM, (), IMAGE, attrs={**statistics, "epsilon": 0.5, "axis": 1})
    (folded,) = chain(conv("c"), norm, affine("a", 4.0, 1.0))
    np.testing.assert_array_equal(folded.weight, 4 * WEIGHT)
    np.testing.assert_array_equal(folded.bias, [5, 5])
    _, kept = chain(conv("c"), norm, affine("a", 4.0, 1.0), fold=False)
    np.testing.assert_array_equal([kept.attrs["gamma"], kept.attrs["beta"]], [[4, 4], [5, 5]])


def test_a_layer_that_somebody_else_reads_too_keeps_its_weight():
    nodes = (
        Node("x", ARGUMENT, (), IMAGE, attrs={"index": 0}),
        Node("c", "conv2d", ("x",), IMAGE, WEIGHT, attrs=PLAIN),
        Node("a", AFFINE, ("c",), IMAGE, attrs={"scale": 2.0, "offset": 0.0}),
        Node("y", "add", ("c", "a"), IMAGE),
    )
    graph = settled(Graph(nodes, ("y",), "NCHW"))
    np.testing.assert_array_equal(graph["c"].weight, WEIGHT)
    assert graph["a"].op == AFFINE


def test_a_difference_is_a_sum_and_the_sign_goes_into_the_layer_of_the_subtrahend():
    nodes = (
        Node("x", ARGUMENT, (), IMAGE, attrs={"index": 0}),
        Node("c", "conv2d", ("x",), IMAGE, WEIGHT, attrs=PLAIN),
        Node("y", SUB, ("x", "c"), IMAGE),
    )
    graph = settled(Graph(nodes, ("y",), "NCHW"))
    assert (graph["y"].op, graph["y"].inputs) == ("add", ("x__input", "c"))
    np.testing.assert_array_equal(graph["c"].weight, -WEIGHT)


def test_sums_of_many_are_sums_of_two_in_their_order():
    nodes = [Node(name, ARGUMENT, (), IMAGE, attrs={"index": i}) for i, name in enumerate("abc")]
    nodes.append(Node("c1", "conv2d", ("a",), IMAGE, WEIGHT, attrs=PLAIN))
    graph = settled(Graph((*nodes, Node("y", "add", ("c1", "b", "c"), IMAGE)), ("y",), "NCHW"))
    assert graph["y"].inputs == ("y__add1", "c__input")
    assert graph["y__add1"].inputs == ("c1", "b__input")


@pytest.mark.parametrize(
    ("shape", "axis", "layout", "seen"),
    [
        (VECTOR, None, "NCHW", (Batch(), 1, 2, 1)),
        (VECTOR, None, "NHWC", (Batch(), 2, 1, 1)),
        (VECTOR, 1, "NCHW", (Batch(), 2, 1, 1)),
        (VECTOR, 1, "NHWC", (Batch(), 1, 1, 2)),
        ((Batch(), 2, 5), 1, "NCHW", (Batch(), 2, 5, 1)),
        ((Batch(), 5, 2), 2, "NHWC", (Batch(), 5, 1, 2)),
    ],
)
def test_tensors_that_are_no_images_are_seen_as_images_of_as_many_channels_as_constants(shape, axis, layout, seen):
    scale = 2.0 if axis is None else np.array([2.0, 3.0])
    nodes = chain(
        Node("fc", "linear", (), shape, np.eye(shape[-1])), clamp("relu"), affine("a", scale, 1.0, axis, shape),
        target=X86, layout=layout,
    )  # fmt: skip
    assert [(node.op, node.shape) for node in nodes[1:]] == [
        ("reshape", seen), ("depthwise_conv2d", seen), ("reshape", shape),
    ]  # fmt: skip


def test_with_channels_second_a_later_axis_is_moved_there_and_back():
    shape = (Batch(), 5, 2)
    moved, view, layer, reshaped, back = chain(
        Node("fc", "linear", (), shape, np.eye(2)), clamp("relu"), affine("a", np.array([2.0, 3.0]), 1.0, 2, shape),
        target=X86,
    )[1:]  # fmt: skip
    assert [node.op for node in (moved, view, layer, reshaped, back)] == [
        "transpose", "reshape", "depthwise_conv2d", "reshape", "transpose",
    ]  # fmt: skip
    assert (moved.attrs["order"], back.attrs["order"]) == ((0, 2, 1), (0, 2, 1))
    assert (layer.shape, back.shape) == ((Batch(), 2, 5, 1), shape)


@pytest.mark.parametrize(
    ("word", "swapped", "expected"),
    [
        ("add", False, (1, 4)),
        ("sub", False, (1, -4)),
        ("sub", True, (-1, 4)),
        ("mul", True, (4, 0)),
        ("div", False, (0.25, 0)),
    ],
)
def test_every_op_with_a_constant_is_a_factor_and_a_shift(word, swapped, expected):
    found = with_constant(word, 4, VECTOR, VECTOR, "NCHW", swapped)
    assert (found["scale"], found["offset"]) == expected


@pytest.mark.parametrize(
    ("constant", "axis"), [(np.ones((2, 1, 1)), 1), (np.ones((1, 2, 1, 1)), 1), (np.ones(4), 3), (np.ones((4, 1)), 2)]
)
def test_a_constant_may_vary_along_one_axis(constant, axis):
    assert with_constant("mul", constant, IMAGE, IMAGE, "NCHW")["axis"] == axis
    assert (with_constant("mul", constant, IMAGE, IMAGE, "NHWC") is None) == (axis != 3)


@pytest.mark.parametrize(
    ("word", "constant", "swapped"),
    [
        ("mul", np.ones((4, 4)), False),
        ("mul", np.inf, False),
        ("div", 0.0, False),
        ("div", 2.0, True),
        ("add", np.ones((3, 1, 2, 1, 1)), False),
        ("add", np.ones((0,)), False),
    ],
)
def test_other_constants_are_no_factor_and_no_shift(word, constant, swapped):
    assert with_constant(word, constant, IMAGE, IMAGE, "NCHW", swapped) is None


def test_a_constant_that_repeats_the_activation_is_no_factor():
    assert with_constant("mul", np.ones((2, 1, 1)), (Batch(), 1, 4, 4), IMAGE, "NCHW") is None


def test_powers_of_few_are_products_and_others_functions_of_one_element():
    assert [power(n) for n in (2, np.float32(3), 4)] == [("mul", n, {}) for n in (2, 3, 4)]
    assert [power(n)[0] for n in (0.5, -0.5, -1, 5)] == ["sqrt", "rsqrt", "reciprocal", "power"]
    assert [power(n) for n in (np.ones(3), np.inf, None)] == [None, None, None]

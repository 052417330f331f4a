import numpy as np
import pytest

from mpq_plugins.errors import GridError
from mpq_plugins.graph.node import Node
from mpq_plugins.graph.weights import as_framework, by_rows, channel_axis, from_framework, from_matrix, matrix
from mpq_plugins.grid import Grid

SHAPES = {  # op, groups: as torch and as Keras have it, for 6 inputs and 4 (depthwise: 6) outputs
    ("conv2d", 1): ((4, 6, 3, 5), (3, 5, 6, 4)),
    ("conv1d", 1): ((4, 6, 5), (5, 6, 4)),
    ("depthwise_conv2d", 6): ((6, 1, 3, 5), (3, 5, 6, 1)),
    ("conv_transpose2d", 1): ((6, 4, 3, 5), (3, 5, 4, 6)),
    ("linear", 1): ((4, 6), (6, 4)),
}


@pytest.mark.parametrize(("op", "groups"), SHAPES)
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_a_weight_goes_from_a_framework_to_a_node_and_back(op, groups, layout):
    shape = SHAPES[op, groups][layout == "NHWC"]
    own = np.random.default_rng(0).normal(size=shape)
    node = Node("layer", op, ("x",), weight=from_framework(op, layout, own, groups), attrs={"groups": groups})
    assert node.weight.shape[0] == (6 if op.startswith("depthwise") else 4)
    np.testing.assert_array_equal(as_framework(node, layout), own)
    assert own.shape[channel_axis(node, layout)] == len(node.weight)


def test_both_frameworks_weights_of_one_layer_are_one_node_weight():
    own = np.random.default_rng(0).normal(size=(6, 4, 3, 5))  # torch's transposed convolution: in, out, rows, columns
    keras = own.transpose(2, 3, 1, 0)
    a, b = (from_framework("conv_transpose2d", layout, w) for layout, w in (("NCHW", own), ("NHWC", keras)))
    np.testing.assert_array_equal(a, b)


def test_the_rows_of_a_grouped_transposed_convolution_go_group_by_group():
    own = np.arange(4 * 2 * 1).reshape(4, 2, 1).astype(float)  # 4 inputs in 2 groups, 2 outputs a group
    weight = from_framework("conv_transpose1d", "NCHW", own, groups=2)
    # output o of group g reads inputs 2g and 2g + 1 through own[input, o]
    expected = [[own[0, 0, 0], own[1, 0, 0]], [own[0, 1, 0], own[1, 1, 0]], [own[2, 0, 0], own[3, 0, 0]],
                [own[2, 1, 0], own[3, 1, 0]]]  # fmt: skip
    np.testing.assert_array_equal(weight[:, :, 0], expected)


def test_the_channels_of_a_grouped_transposed_convolution_lie_along_two_axes():
    node = Node("t", "conv_transpose1d", ("x",), weight=np.ones((4, 2, 1)), attrs={"groups": 2})
    assert as_framework(node, "NCHW").shape == (4, 2, 1)
    assert channel_axis(node, "NCHW") is None


def test_the_matrix_of_a_transposed_convolution_has_the_flipped_kernel_and_goes_back():
    weight = np.random.default_rng(0).normal(size=(2, 3, 4))
    node = Node("t", "conv_transpose1d", ("x",), weight=weight, attrs={"groups": 1})
    np.testing.assert_array_equal(matrix(node), weight[:, :, ::-1].reshape(2, -1))
    np.testing.assert_array_equal(from_matrix(node, matrix(node)), weight)


def test_the_groups_of_a_transposed_convolution_share_the_steps_of_their_channels():
    node = Node("t", "conv_transpose1d", ("x",), weight=np.ones((4, 2, 3)), attrs={"groups": 2})
    assert by_rows(node, Grid(4, (0.5, 0.25), True, False, 1)).steps == (0.5, 0.25, 0.5, 0.25)
    with pytest.raises(GridError, match="3 channels for 4 output"):
        by_rows(node, Grid(4, (0.5, 0.25, 1.0), True, False, 1))

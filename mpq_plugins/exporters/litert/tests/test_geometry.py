"""Which padding LiteRT has, and what is put around instead, against counting windows one by one."""

import itertools

import numpy as np
import pytest

from mpq_plugins.errors import UnsupportedOp
from mpq_plugins.exporters.litert.geometry import (
    as_images,
    average_padding,
    convolution_padding,
    cropping_of,
    max_pool_padding,
)
from mpq_plugins.graph.node import Batch, Node
from mpq_plugins.graph.windows import window_counts

N = Batch()


def same_by_hand(size, kernel, stride, dilation=1):
    """TensorFlow's rule: as many outputs as strides fit, the padding that needs split, the odd one behind."""
    outputs = (size + stride - 1) // stride
    needed = max(0, (outputs - 1) * stride + (kernel - 1) * dilation + 1 - size)
    return needed // 2, needed - needed // 2


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "pad"), itertools.product((5, 6, 9), (1, 2, 3, 5), (1, 2), (0, 1, 2))
)
def test_a_convolution_is_same_or_valid_where_its_numbers_say_so_and_padded_before_else(size, kernel, stride, pad):
    sides = ((pad, pad), (pad, pad))
    attrs = {"stride": (stride,) * 2, "padding": sides, "dilation": (1, 1), "groups": 1}
    node = Node("c", "conv2d", ("x",), (N, 1, 1, 1), np.ones((1, 1, kernel, kernel)), attrs=attrs)
    found = convolution_padding(node, (N, size, size, 1))
    if found.word == "SAME":
        assert sides == (same_by_hand(size, kernel, stride),) * 2
        assert not found.pads
    else:
        assert found.before == sides
        assert pad == 0 or same_by_hand(size, kernel, stride) != (pad, pad)


@pytest.mark.parametrize("counts", [False, True])
@pytest.mark.parametrize(("size", "kernel", "stride", "pad"), itertools.product((5, 6, 9), (2, 3), (1, 2, 3), (0, 1)))
def test_an_average_divides_by_as_many_elements_as_the_windows_count(size, kernel, stride, pad, counts):
    whole = size + 2 * pad
    outputs = -(-(whole - kernel) // stride) + 1
    over = max(0, (outputs - 1) * stride + kernel - whole)
    attrs = {
        "kernel": (1, kernel), "stride": (1, stride), "padding": ((0, 0), (pad, pad)), "overhang": (0, over),
        "counts_padding": counts,
    }  # fmt: skip
    node = Node("p", "avg_pool", ("x",), (N, 1, outputs, 1), attrs=attrs)
    try:
        found = average_padding(node, (N, 1, size, 1))
    except UnsupportedOp:
        needed = (0, over) if counts else (pad, pad + over)
        assert needed != same_by_hand(size + (2 * pad if counts else 0), kernel, stride)
        return
    around = found.before[1]
    padded = around[0] + size + around[1]
    front = same_by_hand(padded, kernel, stride)[0] if found.word == "SAME" else 0
    starts = [index * stride - front for index in range(outputs)]
    counted = [min(start + kernel, padded) - max(start, 0) for start in starts]
    np.testing.assert_array_equal(window_counts(node, (1, size))[0], counted)


def test_a_max_pool_with_dilation_is_refused_by_name():
    attrs = {"kernel": (2, 2), "stride": (1, 1), "padding": ((0, 0), (0, 0)), "dilation": (2, 2)}
    with pytest.raises(UnsupportedOp, match="largest: LiteRT has no max pooling with dilation"):
        max_pool_padding(Node("largest", "max_pool", ("x",), (N, 2, 2, 1), attrs=attrs), (N, 4, 4, 1))


@pytest.mark.parametrize(
    ("kernel", "stride", "crop", "extra"), itertools.product((2, 3, 4), (1, 2, 3), (0, 1), (0, 1, 2))
)
def test_a_transposed_convolution_keeps_the_part_that_the_cropping_leaves(kernel, stride, crop, extra):
    size = 5
    whole = (size - 1) * stride + kernel
    wanted = whole - 2 * crop + extra
    attrs = {"stride": (stride,) * 2, "padding": ((crop, crop - extra),) * 2, "dilation": (1, 1), "groups": 1}
    node = Node("t", "conv_transpose2d", ("x",), (N, wanted, wanted, 1), np.ones((1, 1, kernel, kernel)), attrs=attrs)
    try:
        found = cropping_of(node, (N, size, size, 1))
    except UnsupportedOp:
        assert crop + wanted >= whole + stride
        return
    front = same_by_hand(found.sizes[0], kernel, stride)[0] if found.word == "SAME" else 0
    # LiteRT checks that its own convolution of the output has the size of the input
    outputs = found.sizes[0] if found.word == "SAME" else found.sizes[0] - kernel + 1
    assert -(-outputs // stride) == size
    assert front + (found.front[0] if found.word == "VALID" else 0) == crop
    assert found.kept == (wanted, wanted)
    assert found.word == "VALID" or not found.cuts


def test_a_signal_is_an_image_of_one_row():
    attrs = {"stride": (2,), "padding": ((1, 0),), "dilation": (1,), "groups": 1}
    wide = as_images(Node("c", "conv1d", ("x",), (N, 7, 4), np.ones((4, 3, 5)), attrs=attrs))
    assert (wide.op, wide.shape, wide.weight.shape) == ("conv2d", (N, 1, 7, 4), (4, 3, 1, 5))
    assert wide.attrs == {"stride": (1, 2), "padding": ((0, 0), (1, 0)), "dilation": (1, 1), "groups": 1}

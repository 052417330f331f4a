from dataclasses import replace

import numpy as np
import pytest

from mpq_plugins.graph.node import Batch, Node
from mpq_plugins.search.exact_products import multiplied

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("times", [1, 3])
def test_a_layer_along_a_batch_that_is_joined_with_an_axis_multiplies_every_row(times):
    weight, x = RNG.integers(-8, 9, (5, 2, 3)).astype(float), RNG.integers(-8, 9, (4 * times, 2, 7)).astype(float)
    attrs = {"stride": (1,), "padding": ((0, 0),), "dilation": (1,), "groups": 1}
    node = Node("conv", "conv1d", ("x",), (Batch(times), 5, 5), weight, attrs=attrs)
    got = multiplied(node, weight.reshape(5, -1), x, "NCHW")
    windows = np.lib.stride_tricks.sliding_window_view(x, 3, axis=2)  # [rows, 2, 5, 3]
    np.testing.assert_array_equal(got, np.einsum("oik,ripk->rop", weight, windows))


@pytest.mark.parametrize("size", [3, 9])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_a_layer_of_single_positions_multiplies_the_channels_of_each(layout, size):
    weight, x = RNG.integers(-8, 9, (5, 2, 1, 1)).astype(float), RNG.integers(-8, 9, (3, 2, size, size)).astype(float)
    attrs = {"stride": (1, 1), "padding": ((0, 0),) * 2, "dilation": (1, 1), "groups": 1}
    node = Node("conv", "conv2d", ("x",), (Batch(), 5, size, size), weight, attrs=attrs)
    if layout == "NHWC":
        node, x = replace(node, shape=(Batch(), size, size, 5)), np.moveaxis(x, 1, -1)
    got = multiplied(node, weight.reshape(5, -1), x, layout)
    letters = "oikl,nihw->nohw" if layout == "NCHW" else "oikl,nhwi->nhwo"
    np.testing.assert_array_equal(got, np.einsum(letters, weight, x))

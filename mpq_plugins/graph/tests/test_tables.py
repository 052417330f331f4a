"""Tables of functions of one element, where what kernels compute in float32 decides."""

import numpy as np
import pytest

from mpq_plugins.graph.node import Node
from mpq_plugins.graph.quantized import table_of
from mpq_plugins.grid import Grid


@pytest.mark.parametrize("slope", [0.1, 0.3, 0.7, 0.9])
def test_leaky_relu_is_the_product_of_float32_numbers_rounded_once(slope):
    grid = Grid.power_of_two(8, 1)
    codes = np.arange(-128, 128)
    values = np.asarray(codes * grid.steps[0], np.float32)
    wanted = np.rint(np.where(codes < 0, values * np.float32(slope), values) / np.float32(grid.steps[0]))
    node = Node("y", "leaky_relu", ("x",), attrs={"slope": slope})
    np.testing.assert_array_equal(table_of(node, grid, grid, "half_even"), wanted)

"""Interpolation and PReLU as layers, against their definitions."""

import numpy as np
import pytest

from mpq_plugins.graph.composing import Composing, interpolation, triangle, whole_factor
from mpq_plugins.graph.moving import Part
from mpq_plugins.graph.node import Batch
from mpq_plugins.grid import Grid


@pytest.mark.parametrize("factor", range(1, 9))
def test_elements_repeated_and_averaged_along_a_triangle_are_interpolated(factor):
    x = np.random.default_rng(factor).normal(size=7)
    wanted = np.interp((np.arange(7 * factor) + 0.5) / factor - 0.5, np.arange(7), x)
    border = np.pad(np.repeat(x, factor), factor // 2, mode="edge")
    np.testing.assert_allclose(np.convolve(border, triangle(factor), "valid"), wanted, atol=1e-12)
    np.testing.assert_allclose(interpolation(7, factor) @ x, wanted, atol=1e-12)
    assert whole_factor(interpolation(7, factor)) == factor


def test_weights_between_corners_are_no_whole_factor():
    places = np.linspace(0, 3, 8)
    corners = np.maximum(0.0, 1.0 - np.abs(places[:, None] - np.arange(4)))
    assert whole_factor(corners) == 0


@pytest.mark.parametrize("factor", [2, 4, 8, 16])
def test_weights_by_powers_of_two_lie_on_grids_of_four_bits(factor):
    weights = np.outer(triangle(factor), triangle(factor))
    grid = Grid.power_of_two(4, int(np.log2(8 / (4 * factor**2))))
    assert np.array_equal(grid.project(weights), weights)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_a_composition_ends_in_what_has_no_grid_of_its_own(layout):
    made = Composing("resize", layout)
    shape = (Batch(), 5, 4, 6) if layout == "NCHW" else (Batch(), 4, 6, 5)
    first = 2 if layout == "NCHW" else 1
    weights = {first: interpolation(4, 2), first + 1: interpolation(6, 1)}
    nodes = made.done(made.resized(Part("x", shape), weights))
    assert (nodes[-1].name, nodes[-1].op) == ("resize", "reshape")
    assert nodes[-1].shape == tuple(8 if n == 4 else n for n in shape)

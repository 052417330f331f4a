"""A node's clamp, moved onto its grid, and the sign of what it lets through."""

from __future__ import annotations

import numpy as np
import pytest

from mpq_plugins import Grid
from mpq_plugins.graph.node import Batch, Graph, Node
from mpq_plugins.graph.quantized import clamp_codes
from mpq_plugins.graph.reading import settled
from mpq_plugins.graph.sites import take_sites

BOUNDS = (None, -9.0, -0.7, -0.5, 0.0, 0.3, 1.0, 9.0)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("low", BOUNDS)
def test_what_a_clamp_lets_through_is_on_the_grid_and_within_its_bounds_where_the_grid_reaches_them(low, signed):
    grid = Grid.power_of_two(3, 1, signed)
    for high in BOUNDS:
        if low is not None and high is not None and low > high:
            continue
        first, last = clamp_codes(Node("c", "clamp", ("x",), low=low, high=high), grid)
        given = {min(max(code, first), last) for code in range(grid.low, grid.high + 1)}
        assert min(given) >= grid.low
        assert max(given) <= grid.high
        inside = [
            code
            for code in range(grid.low, grid.high + 1)
            if (low is None or code * grid.steps[0] >= low) and (high is None or code * grid.steps[0] <= high)
        ]
        if inside:
            assert given == set(inside)
        elif high is not None and high < grid.low * grid.steps[0]:
            assert given == {grid.low}
        elif low is not None and low > grid.high * grid.steps[0]:
            assert given == {grid.high}


@pytest.mark.parametrize("op", ["hardswish", "clamp"])
@pytest.mark.parametrize("below", BOUNDS)
def test_a_site_whose_clamp_ends_below_zero_is_signed(below, op):
    shape = (Batch(), 4)
    nodes = (
        Node("x", "argument", (), shape, attrs={"index": 0}),
        Node("x__input", "input", ("x",), shape),
        Node("y", op, ("x__input",), shape, low=0.0 if below is None else None, high=below),
    )
    sites = take_sites(Graph(nodes, ("y",), "NCHW"), {"x": False}).inventory
    # a clamp of its own lies in the buffer of its input
    assert {site.name: site.signed for site in sites}["x" if op == "clamp" else "y"] == (
        below is not None and below < 0
    )


def test_a_long_chain_of_clamps_is_one_read_in_one_pass() -> None:
    nodes = [Node("x", "argument", (), (Batch(), 2), attrs={"index": 0, "dtype": "float32"})]
    nodes.append(Node("fc", "linear", ("x",), (Batch(), 2), np.eye(2)))
    before = ["fc", *(f"relu{n}" for n in range(400))]
    nodes += [Node(f"relu{n}", "clamp", (before[n],), (Batch(), 2), low=0.0) for n in range(400)]
    nodes.append(Node("last", "linear", ("relu399",), (Batch(), 2), np.eye(2)))
    graph = settled(Graph(tuple(nodes), ("last",), "NCHW"))
    assert [node.name for node in graph.nodes] == ["x", "x__input", "fc", "last"]
    assert graph["fc"].attrs["fused"] == tuple(f"relu{n}" for n in range(400))
    assert graph["fc"].low == 0

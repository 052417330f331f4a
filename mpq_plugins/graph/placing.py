"""A graph whose weights and biases lie where integers can hold them: on their grids, and on the accumulators'."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from mpq_plugins.errors import NonFiniteValues, RecipeMismatch
from mpq_plugins.graph.accumulator import snap_bias
from mpq_plugins.graph.node import Graph, Node, Weight
from mpq_plugins.graph.weights import by_rows
from mpq_plugins.grid import Grid


def grid_at(grids: Mapping[str, Grid], site: str) -> Grid:
    """The grid of a site. Raises RecipeMismatch where the recipe has none."""
    try:
        return grids[site]
    except KeyError:
        raise RecipeMismatch(f"the recipe has no grid for site {site}") from None


def input_step(graph: Graph, node: Node, grid_of: Mapping[str, str], grids: Mapping[str, Grid]) -> float:
    """The step of what a layer reads; of a layer that is called several times the coarsest, which fits every call."""
    calls = [other for other in graph.layers if other.weight_site == node.weight_site]
    return max(grid_at(grids, grid_of[call.inputs[0]]).steps[0] for call in calls)


def put_on_grids(graph: Graph, grid_of: Mapping[str, str], grids: Mapping[str, Grid]) -> Graph:
    """The graph with every weight and bias at the nearest value that it may take.

    Raises RecipeMismatch where a site has no grid, NonFiniteValues for a weight that is not finite, and GridError
    for a bias that does not fit its accumulator.
    """

    def placed(node: Node) -> Node:
        if node.weight is None:
            return node
        grid = by_rows(node, grid_at(grids, node.weight_site))
        if not np.all(np.isfinite(node.weight)):
            raise NonFiniteValues(f"{node.weight_site} holds NaN or infinite values")
        weight: Weight = grid.project(node.weight)
        if node.bias is None:
            return replace(node, weight=weight)
        bias = snap_bias(node.bias, input_step(graph, node, grid_of, grids), grid, node.name)
        return replace(node, weight=weight, bias=bias)

    return graph.mapped(placed)

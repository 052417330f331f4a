"""Weights and biases rounded with compensation, placed into a graph."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import nn

from mpq_plugins.graph.node import Graph, Node
from mpq_plugins.graph.weights import from_framework
from mpq_plugins.recipe import Recipe
from mpq_plugins.request import float_ops_of
from mpq_plugins.targets import Target
from mpq_torch.canonical import canonicalize
from mpq_torch.constrained import put_on_grids
from mpq_torch.inventory import locate_sites
from mpq_torch.simulation import build_simulation
from mpq_torch.sweep import compensate


def compensated(
    model: nn.Module, graph: Graph, recipe: Recipe, target: Target, batches: Sequence[tuple[Any, ...]]
) -> Graph:
    """The model's graph with every layer rounded with compensation, and its bias corrected, layer by layer.

    Raises NonFiniteValues, naming the site, where an activation is NaN or infinite on the batches.
    """
    canonical = canonicalize(model, float_ops_of(recipe.meta))
    original, grid_of = copy.deepcopy(canonical), locate_sites(canonical).grid_of
    put_on_grids(canonical, grid_of, recipe)
    simulation = build_simulation(canonical, recipe, grid_of, target)
    found = compensate(original, simulation, batches, recipe)

    def placed(node: Node) -> Node:
        if not node.weighted:
            return node
        weight, bias = (tensor.detach().double().numpy() for tensor in found[node.layer or node.name])
        own = from_framework(node.op, "NCHW", weight, int(node.attrs.get("groups", 1)))
        return replace(node, weight=own, bias=bias)

    return graph.mapped(placed)

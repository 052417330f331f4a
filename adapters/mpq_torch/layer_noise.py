"""The values of every activation site in the float model and in its simulation, side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from mpq_plugins.recipe import Recipe
from mpq_plugins.request import float_ops_of
from mpq_torch.batches import in_chunks
from mpq_torch.canonical import CanonicalModel, canonicalize
from mpq_torch.canonical_simulation import simulate
from mpq_torch.inventory import locate_sites

CHUNK = 64

Values = NDArray[np.float64]


def site_values(
    model: nn.Module, on_grid: nn.Module, recipe: Recipe, batches: Sequence[tuple[Any, ...]]
) -> Iterator[tuple[str, Values, Values]]:
    """(site, values in the float model, values in the simulation) of every activation, batch after batch.

    model: the float model. on_grid: what fx.constrain made of it for the recipe.
    """
    kept = float_ops_of(recipe.meta)
    reference, constrained = canonicalize(model, kept), canonicalize(on_grid, kept)
    simulated = simulate(on_grid, recipe)
    wanted = _owners(reference)
    found = _owners(constrained)  # a simulation has the node names of the canonical graph that it was built from
    for chunk in in_chunks(batches, CHUNK):
        floats = _recorded(reference.graph, chunk, wanted)
        integers = _recorded(simulated, chunk, found)
        for site in wanted.values():
            if site in integers:
                yield site, floats[site].double().numpy(), integers[site].double().numpy()


def _owners(model: CanonicalModel) -> dict[str, str]:
    """Node name -> the activation site whose values its output holds."""
    return {node.name: site for site, node in locate_sites(model).owner_nodes.items()}


def _recorded(graph: fx.GraphModule, batch: tuple[Any, ...], sites: dict[str, str]) -> dict[str, Tensor]:
    values: dict[str, Tensor] = {}

    class Recorder(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            result = super().run_node(n)
            if n.name in sites:
                values[sites[n.name]] = result
            return result

    with torch.no_grad():
        Recorder(graph).run(*batch)
    return values

"""The simulation of a model as a canonical graph, for the exporters that still walk one."""

from __future__ import annotations

from dataclasses import replace

from torch import fx, nn

from mpq_plugins import plugins
from mpq_plugins.recipe import Recipe
from mpq_plugins.request import float_ops_of
from mpq_torch.canonical import canonicalize
from mpq_torch.constrained import put_on_grids
from mpq_torch.inventory import locate_sites
from mpq_torch.reader.writing import write_module
from mpq_torch.simulated_model import SimulatedModel
from mpq_torch.simulation import build_simulation


def simulate(model: nn.Module, recipe: Recipe) -> fx.GraphModule:
    """The simulation of a model as a canonical graph, for what still works on one."""
    canonical = canonicalize(model, float_ops_of(recipe.meta))
    grid_of = locate_sites(canonical).grid_of
    put_on_grids(canonical, grid_of, recipe)
    return build_simulation(canonical, recipe, grid_of, plugins.target(recipe.target))


def as_canonical(simulated: nn.Module) -> nn.Module:
    """What ``fx.simulate`` returned as a canonical graph; anything else as it is."""
    if not isinstance(simulated, SimulatedModel):
        return simulated
    quantized = simulated.simulation.quantized
    written = write_module(replace(simulated.reading, graph=quantized.graph))
    canonical = canonicalize(written, quantized.graph.float_ops)
    return build_simulation(canonical, quantized.grids, locate_sites(canonical).grid_of, quantized.target)

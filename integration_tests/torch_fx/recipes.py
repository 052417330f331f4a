"""Recipes by plain arithmetic, for tests that need any bit-width quickly: thresholds below the maximum."""

from __future__ import annotations

import math

import torch

from mpq_plugins import Grid, Recipe
from mpq_plugins.request import FLOAT_OPS
from mpq_torch.canonical import canonicalize
from mpq_torch.inventory import take_inventory


def clipping_recipe(model, x, target, weight_bits, activation_bits, per_channel=False, keep_float=()):
    """A recipe whose thresholds lie at about half the largest value, so that every grid clips."""
    canonical = canonicalize(model, keep_float)
    sites = take_inventory(canonical, (x,))
    largest = _largest_values(canonical.graph, sites, x)
    grids = {}
    for site in sites.inventory:
        if site.kind == "activation":
            group = [s.name for s in sites.inventory if s.group == site.group] if site.group else [site.name]
            exponent = _exponent(max(largest[name] for name in group))
            grids[site.name] = Grid.power_of_two(activation_bits, exponent, signed=site.signed)
            continue
        weight = canonical.graph.get_submodule(site.name.removesuffix(".weight")).weight.detach()
        if per_channel and not site.op.startswith("conv_transpose"):
            exponents = [_exponent(float(value)) for value in weight.abs().flatten(1).max(1).values]
            grids[site.name] = Grid.power_of_two(weight_bits, exponents, axis=0)
        else:
            grids[site.name] = Grid.power_of_two(weight_bits, _exponent(float(weight.abs().max())))
    meta = {FLOAT_OPS: ", ".join(canonical.float_ops)} if canonical.float_ops else {}
    return Recipe.from_inventory(sites.inventory, grids, target, "by hand", meta=meta)


def _exponent(largest):
    return math.ceil(math.log2(largest + 1e-9)) - 1


def _largest_values(graph, sites, x):
    largest = {}

    class Recorder(torch.fx.Interpreter):
        def run_node(self, n):
            result = super().run_node(n)
            if n in sites.grid_of:
                name = sites.grid_of[n]
                largest[name] = max(largest.get(name, 0.0), float(result.abs().max()))
            return result

    with torch.no_grad():
        Recorder(graph).run(x)
    return largest

"""Recipes by plain arithmetic, for tests that need any bit-width quickly: thresholds below the maximum."""

from __future__ import annotations

import math

import numpy as np
import torch

from mpq_plugins import Grid, Recipe, plugins
from mpq_plugins.graph.evaluation import FloatModel, run_nodes
from mpq_plugins.graph.sites import take_sites
from mpq_plugins.search.signs import signed_inputs
from mpq_torch.reader.reading import read_model


def clipping_recipe(model, x, target, weight_bits, activation_bits, per_channel=False, keep_float=()):
    """A recipe whose thresholds lie at about half the largest value, so that every grid clips."""
    found = plugins.target(target)
    reading = read_model(model, (x,), keep_float, target=found)
    graph = reading.graph
    sites = take_sites(graph, signed_inputs(graph, reading.runner, (x,)))
    largest = _largest_values(reading, sites, x)
    weights = {node.weight_site: node.weight for node in graph.layers}
    grids = {}
    for site in sites.inventory:
        if site.kind == "activation":
            group = [s.name for s in sites.inventory if s.group == site.group] if site.group else [site.name]
            exponent = _exponent(max(largest[name] for name in group))
            kind = found.activation_candidates(site.op, site.signed)[0]
            if kind.exponent is None:
                grids[site.name] = Grid.power_of_two(activation_bits, exponent, signed=site.signed)
            else:
                grids[site.name] = kind.grid(kind.exponent)
            continue
        weight = np.abs(weights[site.name])
        if per_channel and not site.op.startswith("conv_transpose"):
            exponents = [_exponent(float(value)) for value in weight.reshape(len(weight), -1).max(1)]
            grids[site.name] = Grid.power_of_two(weight_bits, exponents, axis=0)
        else:
            grids[site.name] = Grid.power_of_two(weight_bits, _exponent(float(weight.max())))
    return Recipe.from_inventory(sites.inventory, grids, target, "by hand")


def _exponent(largest):
    return math.ceil(math.log2(largest + 1e-9)) - 1


def _largest_values(reading, sites, x):
    largest = {}
    with torch.no_grad():
        values = run_nodes(reading.graph, (x,), FloatModel(reading.graph, reading.runner).step)
    for node, name in sites.grid_of.items():
        largest[name] = max(largest.get(name, 0.0), float(values[node].abs().max()))
    return largest

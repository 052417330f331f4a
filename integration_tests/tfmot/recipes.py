"""Recipes by plain arithmetic, for tests that need any bit-width quickly: thresholds below the maximum."""

from __future__ import annotations

import math

import numpy as np

from mpq_plugins import Grid, Recipe
from mpq_plugins.graph.evaluation import FloatModel, run_nodes
from mpq_plugins.graph.sites import take_sites
from mpq_plugins.graph.weights import as_framework
from mpq_tfmot.calibration.batches import as_tensors
from mpq_tfmot.reader.reading import read_model


def float_values(reading, x):
    """The float output of every node; of an input node under the name of its site."""
    graph = reading.graph
    values = run_nodes(graph, as_tensors(x, graph.arguments), FloatModel(graph, reading.runner).step)
    return values | {node.site: values[node.name] for node in graph.nodes}


def clipping_recipe(model, x, target, weight_bits, activation_bits, per_channel=False, signed_inputs=None):
    """A recipe whose thresholds lie at about half the largest value, so that every grid clips."""
    reading = read_model(model)
    graph = reading.graph
    inventory = take_sites(graph, signed_inputs).inventory
    values = float_values(reading, x)
    largest = {name: float(np.abs(np.asarray(value)).max()) for name, value in values.items()}
    grids = {}
    for site in inventory:
        if site.kind == "activation":
            group = [s.name for s in inventory if s.group == site.group] if site.group else [site.name]
            exponent = _exponent(max(largest[name] for name in group))
            grids[site.name] = Grid.power_of_two(activation_bits, exponent, signed=site.signed)
            continue
        weight = np.abs(as_framework(graph[site.name.removesuffix(".weight")], graph.layout))
        if per_channel:
            others = tuple(d for d in range(weight.ndim) if d != site.channel_axis)
            exponents = [_exponent(float(value)) for value in weight.max(axis=others)]
            grids[site.name] = Grid.power_of_two(weight_bits, exponents, axis=site.channel_axis)
        else:
            grids[site.name] = Grid.power_of_two(weight_bits, _exponent(float(weight.max())))
    return Recipe.from_inventory(inventory, grids, target, "by hand")


def _exponent(largest):
    return math.ceil(math.log2(largest + 1e-9)) - 1

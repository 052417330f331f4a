"""Recipes by plain arithmetic, for tests that need any bit-width quickly: thresholds below the maximum."""

from __future__ import annotations

import math

import numpy as np

from mpq_plugins import Grid, Recipe
from mpq_tfmot.canonical import canonicalize
from mpq_tfmot.canonical_ops import compute
from mpq_tfmot.model_sites import take_inventory


def float_values(canonical, x):
    """The float output of every op."""
    values = {}
    for op in canonical.ops:
        values[op.name] = x if op.kind == "input" else compute(op, [values[name] for name in op.inputs])
    return values


def clipping_recipe(model, x, target, weight_bits, activation_bits, per_channel=False, signed_inputs=None):
    """A recipe whose thresholds lie at about half the largest value, so that every grid clips."""
    canonical = canonicalize(model)
    inventory = take_inventory(canonical, signed_inputs).inventory
    values = float_values(canonical, x)
    largest = {name: float(np.abs(np.asarray(value)).max()) for name, value in values.items()}
    grids = {}
    for site in inventory:
        if site.kind == "activation":
            group = [s.name for s in inventory if s.group == site.group] if site.group else [site.name]
            exponent = _exponent(max(largest[name] for name in group))
            grids[site.name] = Grid.power_of_two(activation_bits, exponent, signed=site.signed)
            continue
        weight = np.abs(canonical[site.name.removesuffix(".weight")].weight)
        if per_channel:
            others = tuple(d for d in range(weight.ndim) if d != site.channel_axis)
            exponents = [_exponent(float(value)) for value in weight.max(axis=others)]
            grids[site.name] = Grid.power_of_two(weight_bits, exponents, axis=site.channel_axis)
        else:
            grids[site.name] = Grid.power_of_two(weight_bits, _exponent(float(weight.max())))
    return Recipe.from_inventory(inventory, grids, target, "by hand")


def _exponent(largest):
    return math.ceil(math.log2(largest + 1e-9)) - 1

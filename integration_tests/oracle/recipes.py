"""Recipes without a search: bits and exponents drawn from the target's candidates by a seed."""

from __future__ import annotations

import math

import numpy as np

from integration_tests.oracle.values import spread
from mpq_plugins import Grid, Recipe, plugins

USUAL = 2
"""Base-two logarithm of about the largest activation in our networks."""
FINE = 16
"""Bits that hardly round."""


def drawn_grids(inventory, target, seed, bits=None, largest=None):
    """A grid for every site of a model.

    bits: of all weights and activations where the target has them, instead of drawn ones. largest: by site the
    base-two logarithm of the largest magnitude, which thresholds lie at or below; by default that of our networks.
    Candidates are those of a processor without VNNI, so that every x86 processor draws the same and adds exactly.
    """
    rng, target, largest = np.random.default_rng(seed), plugins.target(target), largest or {}
    grids = {}
    for members in inventory.groups().values():
        grid = _weight(rng, target, members[0], bits, largest) if members[0].kind == "weight" else None
        grid = grid or _activation(rng, target, members, bits, largest)
        grids.update({site.name: grid for site in members})
    return grids


def drawn_recipe(inventory, target, seed, bits=None, largest=None):
    """The recipe of ``drawn_grids``."""
    grids = drawn_grids(inventory, target, seed, bits, largest)
    return Recipe.from_inventory(inventory, grids, target, "drawn")


def fine_recipe(inventory):
    """A recipe that hardly rounds anything, to measure a model with."""
    grids = {s.name: Grid.power_of_two(FINE, 4 if s.kind == "weight" else 8) for s in inventory}
    return Recipe.from_inventory(inventory, grids, "generic-po2", "fine")


def exponent_of(values):
    """Base-two logarithm of the power of two that no magnitude exceeds."""
    return math.ceil(math.log2(max(float(np.abs(values).max()), 2.0**-FINE)))


def bias_of(weight):
    """The name of the bias beside a weight."""
    return f"{weight.removesuffix('weight')}bias"


def in_order(recipe, found):
    """What was found of sites and biases, in the order in which the model computes them."""
    names = [n for entry in recipe.sites for n in (entry.site, bias_of(entry.site)) if n in found]
    return {name: found[name] for name in names}


def _weight(rng, target, site, bits, largest):
    candidates = target.weight_candidates(site.op, vnni=False)
    wanted = [c for c in candidates if c.bits == bits] or candidates
    candidate = wanted[rng.integers(len(wanted))]
    channels = site.channels or site.shape[1]  # of transposed convolutions in groups: those of a group
    highest = largest.get(site.name, math.ceil(math.log2(2 * spread(site.shape, channels))) + 1)
    exponents = highest + rng.integers(-2, 1, channels)
    axis = site.channel_axis if candidate.per_channel else None
    exponents = [int(e) for e in (exponents if candidate.per_channel else exponents[:1])]
    return _grid(rng, candidate, exponents, axis)


def _activation(rng, target, members, bits, largest):
    signed = any(site.signed for site in members)
    common = set.intersection(*(set(target.activation_candidates(site.op, signed)) for site in members))
    candidates = sorted(common, key=lambda c: c.bits)
    wanted = [c for c in candidates if c.bits == bits] or candidates
    candidate = wanted[rng.integers(len(wanted))]
    highest = max(largest.get(site.name, USUAL) for site in members)
    return _grid(rng, candidate, [highest + int(rng.integers(-2, 1))], None)


def _grid(rng, candidate, exponents, axis):
    if candidate.exponent is not None:
        return candidate.grid(candidate.exponent)
    if candidate.power_of_two:
        return candidate.grid(exponents if axis is not None else exponents[0], axis)
    shift = candidate.bits - int(candidate.signed)
    steps = tuple(float(np.float32(rng.uniform(0.6, 1.2))) * 2.0 ** (e - shift) for e in exponents)
    return Grid(candidate.bits, steps, signed=candidate.signed, narrow=candidate.narrow, axis=axis)

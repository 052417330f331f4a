"""Recipes without a search: bits and exponents drawn from the target's candidates by a seed."""

from __future__ import annotations

import math

import numpy as np

from integration_tests.oracle.values import spread
from mpq_plugins import Grid, Recipe, plugins


def drawn_grids(inventory, target, seed, bits=None):
    """A grid for every site; bits: of all weights and activations where the target has them, instead of drawn ones.

    Candidates are those of a processor without VNNI, so that every x86 processor draws the same and adds exactly.
    """
    rng, target = np.random.default_rng(seed), plugins.target(target)
    grids = {}
    for members in inventory.groups().values():
        grid = _weight(rng, target, members[0], bits) if members[0].kind == "weight" else None
        grid = grid or _activation(rng, target, members, bits)
        grids.update({site.name: grid for site in members})
    return grids


def drawn_recipe(inventory, target, seed, bits=None):
    """The recipe of ``drawn_grids``."""
    return Recipe.from_inventory(inventory, drawn_grids(inventory, target, seed, bits), target, "drawn")


def bias_of(weight):
    """The name of the bias beside a weight."""
    return f"{weight.removesuffix('weight')}bias"


def in_order(recipe, found):
    """What was found of sites and biases, in the order in which the model computes them."""
    names = [n for entry in recipe.sites for n in (entry.site, bias_of(entry.site)) if n in found]
    return {name: found[name] for name in names}


def _weight(rng, target, site, bits):
    candidates = target.weight_candidates(site.op, vnni=False)
    wanted = [c for c in candidates if c.bits == bits] or candidates
    candidate = wanted[rng.integers(len(wanted))]
    deviation = spread(site.shape, site.channels)
    exponents = math.ceil(math.log2(2 * deviation)) + rng.integers(-1, 2, site.channels)
    axis = site.channel_axis if candidate.per_channel else None
    exponents = [int(e) for e in (exponents if candidate.per_channel else exponents[:1])]
    return _grid(rng, candidate, exponents, axis)


def _activation(rng, target, members, bits):
    signed = any(site.signed for site in members)
    common = set.intersection(*(set(target.activation_candidates(site.op, signed)) for site in members))
    candidates = sorted(common, key=lambda c: c.bits)
    wanted = [c for c in candidates if c.bits == bits] or candidates
    return _grid(rng, wanted[rng.integers(len(wanted))], [int(rng.integers(0, 3))], None)


def _grid(rng, candidate, exponents, axis):
    if candidate.power_of_two:
        return candidate.grid(exponents if axis is not None else exponents[0], axis)
    shift = candidate.bits - int(candidate.signed)
    steps = tuple(float(np.float32(rng.uniform(0.6, 1.2))) * 2.0 ** (e - shift) for e in exponents)
    return Grid(candidate.bits, steps, signed=candidate.signed, narrow=candidate.narrow, axis=axis)

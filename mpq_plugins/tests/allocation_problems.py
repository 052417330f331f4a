"""Problems for the tests of the allocation, and what plain Python says of them."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import strategies as st

from mpq_plugins.costs.budget import Budget
from mpq_plugins.costs.cost_models import COST_MODELS, CostRow, CostTerm, cost_of
from mpq_plugins.inventory import Inventory, Site

BITS = (2, 3, 4, 6, 8)


class Tabled:
    """A cost model from tables: rows of {(sites): {(bits): cost}}."""

    unit = "units"

    def __init__(self, rows):
        self.tables = rows

    def rows(self, inventory):
        return [
            CostRow(f"row {at}", [CostTerm(sites, lambda *b, t=table: t[b]) for sites, table in row.items()])
            for at, row in enumerate(self.tables)
        ]

    def __repr__(self):
        return f"Tabled({self.tables})"

    def value(self, bits):
        return max(sum(t[tuple(bits[s] for s in sites)] for sites, t in row.items()) for row in self.tables)


@st.composite
def problems(draw):
    """A few sites, some in groups, and up to three resources with linear, paired and peak costs."""
    count = draw(st.integers(1, 5))
    groups = [draw(st.sampled_from([None, None, "g", "h"])) for _ in range(count)]
    sites = [Site(f"s{at}", "weight", "linear", (1,), group=group) for at, group in enumerate(groups)]
    by_group = {}
    candidates, losses = {}, {}
    for site in sites:
        options = draw(st.lists(st.sampled_from(BITS), min_size=1, max_size=3, unique=True))
        if site.group:
            options = by_group.setdefault(site.group, options)
        candidates[site.name] = options
        losses[site.name] = [draw(st.floats(-1, 1)) * 10.0 ** draw(st.integers(-3, 3)) for _ in options]
    names = [site.name for site in sites]
    costs = st.one_of(st.integers(0, 20), st.floats(0, 20))
    models = {}
    for resource in draw(st.lists(st.sampled_from(["bops", "weight_bytes", "energy"]), min_size=1, unique=True)):
        rows = []
        for _ in range(draw(st.integers(1, 3))):
            row = {}
            for _ in range(draw(st.integers(0, 4))):
                key = tuple(draw(st.lists(st.sampled_from(names), max_size=2, unique=True)))
                options = itertools.product(*(candidates[name] for name in key))
                row[key] = {bits: float(draw(costs)) for bits in options}
            rows.append(row)
        models[resource] = Tabled(rows)
    return Inventory(sites), candidates, losses, models


def every_choice(inventory, candidates):
    groups = [[site.name for site in sites] for sites in inventory.groups().values()]
    options = [candidates[group[0]] for group in groups]
    for choice in itertools.product(*options):
        yield {name: b for group, b in zip(groups, choice, strict=True) for name in group}


def loss_of(bits, candidates, losses):
    return sum(losses[name][list(candidates[name]).index(b)] for name, b in bits.items())


def budget_of(limits):
    own = {name: limit for name, limit in limits.items() if name != "energy"}
    return Budget(**own, other={name: limit for name, limit in limits.items() if name == "energy"})


def chain(count, seed=0, bits=tuple(range(2, 9)), inputs=True):
    """A chain of layers with random sizes and losses that fall fourfold with each bit."""
    rng = np.random.default_rng(seed)
    sites = [Site("x", "activation", "input", (64,))]
    for at in range(count):
        before = sites[-1].name
        shape = (int(rng.integers(10, 3000)), 3)
        macs = int(rng.integers(1000, 100000))
        sites.append(Site(f"w{at}", "weight", "linear", shape, macs=macs, inputs=(before,) if inputs else ()))
        sites.append(Site(f"a{at}", "activation", "linear", (int(rng.integers(10, 500)),)))
    acts = [site.name for site in sites if site.kind == "activation"]
    candidates = {s.name: bits if inputs or s.kind == "weight" else (8,) for s in sites}
    losses = {
        s.name: np.exp(rng.normal(0, 1))
        * 4.0 ** -np.array(candidates[s.name])
        * rng.uniform(0.8, 1, len(candidates[s.name]))
        for s in sites
    }
    return Inventory(sites, itertools.pairwise(acts)), candidates, losses


def at_bits(inventory, bits, name):
    return cost_of(COST_MODELS[name], inventory, dict.fromkeys((s.name for s in inventory), bits))

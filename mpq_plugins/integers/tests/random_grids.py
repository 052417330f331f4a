"""Grids drawn at random, for programs that must equal their simulation whatever the bits and steps."""

from __future__ import annotations

from mpq_plugins import Grid


def random_grids(inventory, rng, bits=(2, 9)):
    """Site -> grid: ``bits`` from .. below, steps within some powers of two of where values near one lie.

    Sites of one group share a grid; weights have one step, or one per output channel.
    """
    grids, shared = {}, {}
    for site in inventory:
        width = int(rng.integers(*bits))
        if site.kind == "weight":
            by_channel = rng.random() < 0.5
            exponents = rng.integers(-3, 2, site.channels).tolist() if by_channel else int(rng.integers(-3, 2))
            grids[site.name] = Grid.power_of_two(width, exponents, axis=site.channel_axis if by_channel else None)
            continue
        group = site.group or site.name
        shared.setdefault(group, Grid.power_of_two(width, int(rng.integers(-2, 4)), signed=site.signed))
        grids[site.name] = shared[group]
    return grids

"""What each site takes of a resource."""

from __future__ import annotations

import math
from collections.abc import Mapping

from mpq_plugins.costs.cost_models import CostModel
from mpq_plugins.inventory import Inventory

OVERHEAD = ""
"""Stands for what no site takes."""


def shares(model: CostModel, inventory: Inventory, bits: Mapping[str, int]) -> dict[str, float]:
    """Site -> what it takes, in the row that makes up the resource's value; a product belongs to its first site.

    They add up to ``cost_of``.

    >>> from mpq_plugins.costs.cost_models import BitOperations
    >>> from mpq_plugins.inventory import Site
    >>> x = Site("x", "activation", "input", (3,))
    >>> fc = Site("fc.weight", "weight", "linear", (2, 3), macs=6, inputs=("x",))
    >>> shares(BitOperations(), Inventory([x, fc]), {"x": 8, "fc.weight": 4})
    {'fc.weight': 192.0}
    """
    rows = [
        [(t.sites[0] if t.sites else OVERHEAD, t(*(bits[s] for s in t.sites))) for t in row.terms]
        for row in model.rows(inventory)
    ]
    largest = max(rows, key=lambda row: math.fsum(value for _, value in row), default=[])
    found: dict[str, float] = {}
    for site, value in largest:
        found[site] = found.get(site, 0.0) + value
    return found

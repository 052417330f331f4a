"""Losses by bits, in the order that an allocation can rely on."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from mpq_plugins.errors import NonFiniteValues


def non_increasing(cost: Mapping[int, float]) -> dict[int, float]:
    """Costs by bit-width, each at least that of every larger bit-width, and none negative.

    Noise in a measurement can make fewer bits look better, which an exact solver would exploit.

    >>> non_increasing({2: 0.5, 3: 0.1, 4: 0.2, 8: -1e-9})
    {2: 0.5, 3: 0.2, 4: 0.2, 8: 0.0}
    """
    repaired, floor = {}, 0.0
    for bits in sorted(cost, reverse=True):
        if np.isnan(cost[bits]):
            raise NonFiniteValues(f"the sensitivity at {bits} bits is NaN")
        floor = max(floor, cost[bits])
        repaired[bits] = floor
    return {bits: repaired[bits] for bits in cost}

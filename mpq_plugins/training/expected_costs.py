"""What bits cost while they are still being learned: a budget's cost models, with gradient.

A cost model is defined at whole bit-widths. Between two candidates of a site its cost is taken to
change linearly, and bilinearly where the bits of two sites multiply; at a candidate it is exact.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.array_ops.protocol import Array, Ops
from mpq_plugins.costs.cost_models import CostModel
from mpq_plugins.errors import MPQError
from mpq_plugins.inventory import FLOAT_BITS, Inventory
from mpq_plugins.training.method import Spent
from mpq_plugins.training.slot import Slot

Numbers = NDArray[np.float64]
BESIDE_CORNER = 1e-4
"""Bits; how far below a candidate the gradient of its cost is taken."""


@dataclass(frozen=True)
class ResourceTable:
    """One resource by candidate: the value is the maximum over rows of their sums.

    constant: [rows]. single: [rows, slots, candidates]. pairs: for each term of two slots its row, the
    two slots, and the cost by candidate of each, [pairs, candidates, candidates].
    """

    name: str
    limit: float
    float_cost: float
    unit: str
    constant: Numbers
    single: Numbers
    pair_rows: tuple[int, ...]
    pair_slots: tuple[tuple[int, int], ...]
    pair_costs: Numbers


@dataclass(frozen=True)
class ExpectedCosts:
    """The limited resources of a training, as functions of the slots' bits.

    slots: names, in the order of the tables. bits: [slots, candidates], padded by repeating the last.
    gaps: distance to the candidate below and above, [slots, candidates].
    """

    slots: tuple[str, ...]
    bits: Numbers
    gaps: tuple[Numbers, Numbers]
    resources: tuple[ResourceTable, ...]

    @classmethod
    def of(
        cls,
        inventory: Inventory,
        slots: Sequence[Slot],
        slot_of: Mapping[str, str],
        limits: Mapping[str, float],
        models: Mapping[str, CostModel],
    ) -> ExpectedCosts:
        """Tables of the limited resources. slot_of: site -> slot. limits, models: by resource."""
        names = tuple(slot.name for slot in slots)
        most = max(len(slot.bits) for slot in slots)
        bits = np.array([[*slot.bits, *[slot.bits[-1]] * (most - len(slot.bits))] for slot in slots], dtype=float)
        sizes = [len(slot.bits) for slot in slots]
        return cls(
            names,
            bits,
            _gaps(bits, sizes),
            tuple(
                _table(name, limit, models[name], inventory, names, slot_of, bits, sizes)
                for name, limit in limits.items()
            ),
        )

    def tables(self) -> dict[str, NDArray[Any]]:
        """The constants that ``spent`` takes, which a host keeps where its model is."""
        found: dict[str, NDArray[Any]] = {"bits": self.bits, "below": self.gaps[0], "above": self.gaps[1]}
        for table in self.resources:
            found |= {f"constant {table.name}": table.constant, f"single {table.name}": table.single}
            if table.pair_rows:
                ends = np.asarray(table.pair_slots, np.int64)
                found |= {f"first {table.name}": ends[:, 0], f"second {table.name}": ends[:, 1]}
                found[f"pairs {table.name}"] = table.pair_costs
                found[f"in row {table.name}"] = np.eye(len(table.constant))[list(table.pair_rows)]
        return found

    def spent(self, ops: Ops, expected: Array, tables: Mapping[str, Array]) -> tuple[Spent, ...]:
        """What every limited resource costs. expected: the bits of every slot, [slots], with gradient.

        tables: of ``tables()``, floats in the type of expected.
        """
        if not self.resources:
            return ()
        shares = self._shares(ops, expected, tables)
        return tuple(
            Spent(table.name, _cost(ops, table, shares, tables), table.limit, table.float_cost, table.unit)
            for table in self.resources
        )

    def _shares(self, ops: Ops, now: Array, tables: Mapping[str, Array]) -> Array:
        """How much of each candidate the expected bits hold, [slots, candidates]; rows sum to one.

        At a candidate, where the cost has a corner, the gradient is that of the interval below.
        """
        left = _shares_at(ops, now - BESIDE_CORNER, tables)
        return ops.stop_gradient(_shares_at(ops, now, tables)) + (left - ops.stop_gradient(left))


def _shares_at(ops: Ops, now: Array, tables: Mapping[str, Array]) -> Array:
    distance = ops.reshape(now, [-1, 1]) - tables["bits"]
    return ops.relu(1.0 - ops.relu(distance) / tables["above"] - ops.relu(-distance) / tables["below"])


def _cost(ops: Ops, table: ResourceTable, shares: Array, tables: Mapping[str, Array]) -> Array:
    rows = tables[f"constant {table.name}"] + ops.sum(tables[f"single {table.name}"] * shares[None], (1, 2))
    if table.pair_rows:
        first = ops.gather(shares, tables[f"first {table.name}"])
        second = ops.gather(shares, tables[f"second {table.name}"])
        products = first[:, :, None] * second[:, None, :] * tables[f"pairs {table.name}"]
        rows = rows + ops.sum(ops.sum(products, (1, 2))[:, None] * tables[f"in row {table.name}"], 0)
    return ops.max(rows)


def _gaps(bits: Numbers, sizes: Sequence[int]) -> tuple[Numbers, Numbers]:
    """Distances to the neighbours; outside the outermost candidates the cost stays that of the outermost."""
    below, above = np.full(bits.shape, np.inf), np.full(bits.shape, np.inf)
    for row, size in enumerate(sizes):
        gaps = np.diff(bits[row, :size])
        below[row, 1:size], above[row, : size - 1] = gaps, gaps
        below[row, size:] = above[row, size:] = 1e-30  # padding never has a share
    return below, above


def _table(
    name: str,
    limit: float,
    model: CostModel,
    inventory: Inventory,
    names: tuple[str, ...],
    slot_of: Mapping[str, str],
    bits: Numbers,
    sizes: Sequence[int],
) -> ResourceTable:
    rows = model.rows(inventory)
    constant, single = np.zeros(len(rows)), np.zeros((len(rows), *bits.shape))
    pair_rows, pair_slots, pair_costs = [], [], []
    for index, row in enumerate(rows):
        for term in row.terms:
            at = [names.index(slot_of[site]) for site in term.sites]
            if not at:
                constant[index] += term()
            elif len(at) == 1 or at[0] == at[1]:
                slot = at[0]
                for k in range(sizes[slot]):
                    single[index, slot, k] += term(*[int(bits[slot, k])] * len(at))
            else:
                costs = np.zeros((bits.shape[1], bits.shape[1]))
                for k in range(sizes[at[0]]):
                    for m in range(sizes[at[1]]):
                        costs[k, m] = term(int(bits[at[0], k]), int(bits[at[1], m]))
                pair_rows.append(index)
                pair_slots.append((at[0], at[1]))
                pair_costs.append(costs)
    stacked = np.stack(pair_costs) if pair_costs else np.zeros((0, bits.shape[1], bits.shape[1]))
    return ResourceTable(
        name,
        limit,
        _float_cost(rows, bits.max()),
        model.unit,
        constant,
        single,
        tuple(pair_rows),
        tuple(pair_slots),
        stacked,
    )


def _float_cost(rows: Sequence[object], largest: float) -> float:
    """The resource at 32 bits; a measured one, which has no such row, in proportion to its largest bits."""

    def at(bits: int) -> float:
        return max((sum(t(*[bits] * len(t.sites)) for t in row.terms) for row in rows), default=0.0)  # type: ignore[attr-defined]

    try:
        return float(at(FLOAT_BITS))
    except (MPQError, LookupError, ValueError):
        return float(at(int(largest)) * FLOAT_BITS / largest)

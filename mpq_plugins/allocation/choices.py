"""Choices: sites, candidates, losses and cost models arranged as a knapsack."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray

from mpq_plugins.allocation.knapsack import Columns, Floats, Knapsack
from mpq_plugins.costs.cost_models import CostModel, CostRow
from mpq_plugins.errors import AllocationError, NonFiniteValues
from mpq_plugins.inventory import Inventory

LIMIT_TOLERANCE = 1e-12
"""A sum within this fraction above its limit meets it: float64 sums in another order differ by less."""


@dataclass(frozen=True, eq=False)
class Choices:
    """The decisions of an allocation: one for every group of sites that share a grid.

    groups: [decisions] names of the sites that choose together.
    bits: [decisions] candidates that all sites of the group have, ascending.
    units: resource -> unit.
    free: the knapsack of all resources with limits of 0; ``within`` gives it real ones.
    row_resources: [rows] the resource that a row belongs to.
    constants: [rows] what a row costs whatever is chosen.
    """

    groups: tuple[tuple[str, ...], ...]
    bits: tuple[tuple[int, ...], ...]
    units: Mapping[str, str]
    free: Knapsack
    row_resources: NDArray[np.str_]
    constants: Floats

    def within(self, limits: Mapping[str, float]) -> tuple[Knapsack, NDArray[np.str_]]:
        """The knapsack of the limited resources alone, and [rows] which resource a row belongs to."""
        at = np.flatnonzero(np.isin(self.row_resources, list(limits)))
        names = self.row_resources[at]
        most = np.array([limits[str(name)] * (1 + LIMIT_TOLERANCE) for name in names]) - self.constants[at]
        free = self.free
        return Knapsack(free.loss, free.block, free.ends, free.rows[at], most), names

    def costs(self, chosen: Columns) -> dict[str, float]:
        """What the chosen columns cost, by resource: the largest of its rows."""
        sums = self.free.activity(chosen) + self.constants
        return {name: float(max(sums[self.row_resources == name], default=0.0)) for name in self.units}

    def columns_of(self, bits: Mapping[str, int]) -> Columns:
        """[decisions] the columns of these bits, by site."""
        first = self.free.starts[: self.free.decisions]
        at = [options.index(bits[group[0]]) for group, options in zip(self.groups, self.bits, strict=True)]
        return np.asarray(first + np.array(at, dtype=np.intp))

    def bits_of(self, chosen: Columns) -> tuple[int, ...]:
        """[decisions] bits of the chosen columns."""
        first = self.free.starts[: self.free.decisions]
        return tuple(bits[at] for bits, at in zip(self.bits, chosen - first, strict=True))


def arrange(
    inventory: Inventory,
    candidates: Mapping[str, Sequence[int]],
    losses: Mapping[str, Sequence[float]],
    cost_models: Mapping[str, CostModel],
) -> Choices:
    """The choices of ``allocate``; its docstring says what the arguments are and what is raised."""
    if not candidates:
        raise AllocationError("there is no site to choose bits for: candidates is empty")
    tables = {site: _loss_by_bits(site, options, losses) for site, options in candidates.items()}
    surplus = sorted(set(losses) - set(candidates))
    if surplus:
        raise AllocationError(f"losses are given for sites without candidates: {', '.join(surplus)}")
    groups, bits = _groups(inventory, tables)
    loss = [
        sum(tables[site][b] for site in group) for group, options in zip(groups, bits, strict=True) for b in options
    ]
    starts = np.cumsum([0, *map(len, bits)])
    decision = {site: at for at, group in enumerate(groups) for site in group}
    rows = [(name, row) for name, model in cost_models.items() for row in model.rows(inventory)]
    _check_counted(rows, decision)
    table = _Entries(bits, starts, decision)
    for at, (_, row) in enumerate(rows):
        table.add(at, row)
    block = np.repeat(np.arange(len(bits)), [len(options) for options in bits])
    free = Knapsack(
        np.asarray(loss, dtype=np.float64),
        np.concatenate([block, *table.product_blocks()]).astype(np.intp),
        np.concatenate([np.zeros((0, 2)), *table.ends.values()]).astype(np.intp),
        table.matrix(len(rows)),
        np.zeros(len(rows)),
    )
    units = {name: model.unit for name, model in cost_models.items()}
    constants = np.array([table.constants.get(at, 0.0) for at in range(len(rows))])
    return Choices(groups, bits, units, free, np.array([name for name, _ in rows], dtype=np.str_), constants)


class _Entries:
    """Collects the sparse cost matrix, and a block of products for every pair that shares a cost."""

    def __init__(self, bits: Sequence[Sequence[int]], starts: NDArray[np.int64], decision: Mapping[str, int]) -> None:
        self.bits, self.starts, self.decision = bits, starts, decision
        self.row: list[int] = []
        self.column: list[int] = []
        self.value: list[float] = []
        self.constants: dict[int, float] = {}
        self.ends: dict[tuple[int, int], NDArray[np.int64]] = {}
        self.first: dict[tuple[int, int], int] = {}
        self.columns = int(starts[-1])

    def add(self, row: int, terms: CostRow) -> None:
        for term in terms.terms:
            at = [self.decision[site] for site in term.sites]
            if not at:
                self.constants[row] = self.constants.get(row, 0.0) + term()
            elif len(set(at)) == 1:
                values = [term(*[b] * len(at)) for b in self.bits[at[0]]]
                self._put(row, int(self.starts[at[0]]), values)
            else:
                self._add_pair(row, at[0], at[1], [[term(a, b) for b in self.bits[at[1]]] for a in self.bits[at[0]]])

    def _add_pair(self, row: int, one: int, two: int, values: list[list[float]]) -> None:
        if len(self.bits[one]) == 1:
            self._put(row, int(self.starts[two]), values[0])
        elif len(self.bits[two]) == 1:
            self._put(row, int(self.starts[one]), [line[0] for line in values])
        elif one > two:
            self._add_pair(row, two, one, [list(line) for line in zip(*values, strict=True)])
        else:
            if (one, two) not in self.first:
                size = len(self.bits[one]), len(self.bits[two])
                a, b = np.meshgrid(np.arange(size[0]), np.arange(size[1]), indexing="ij")
                self.ends[one, two] = np.stack([self.starts[one] + a.ravel(), self.starts[two] + b.ravel()], axis=1)
                self.first[one, two] = self.columns
                self.columns += size[0] * size[1]
            self._put(row, self.first[one, two], [value for line in values for value in line])

    def _put(self, row: int, first: int, values: Sequence[float]) -> None:
        self.row += [row] * len(values)
        self.column += range(first, first + len(values))
        self.value += values

    def product_blocks(self) -> list[NDArray[np.int64]]:
        return [np.full(len(ends), len(self.bits) + at) for at, ends in enumerate(self.ends.values())]

    def matrix(self, rows: int) -> sparse.csc_matrix:
        matrix = sparse.csc_matrix((self.value, (self.row, self.column)), shape=(rows, self.columns))
        matrix.eliminate_zeros()
        return matrix


def _loss_by_bits(site: str, options: Sequence[int], losses: Mapping[str, Sequence[float]]) -> dict[int, float]:
    bits = [int(b) for b in options]
    if not bits or bits != list(options) or len(set(bits)) < len(bits) or min(bits) < 1:
        raise AllocationError(f"the candidates of {site} must be different whole bits, at least one, got {options!r}")
    if site not in losses and len(bits) == 1:
        return {bits[0]: 0.0}
    if site not in losses or len(losses[site]) != len(bits):
        count = len(losses[site]) if site in losses else "no"
        raise AllocationError(f"{site} has {len(bits)} candidates {bits} and {count} losses; give one for each")
    values = [float(loss) for loss in losses[site]]
    wrong = [f"{loss} at {b} bits" for b, loss in zip(bits, values, strict=True) if not math.isfinite(loss)]
    if wrong:
        raise NonFiniteValues(f"the loss of {site} is {', '.join(wrong)}; give finite losses, or drop the candidate")
    return dict(zip(bits, values, strict=True))


def _groups(
    inventory: Inventory, tables: Mapping[str, Mapping[int, float]]
) -> tuple[tuple[tuple[str, ...], ...], tuple[tuple[int, ...], ...]]:
    unknown = [site for site in tables if site not in inventory]
    if unknown:
        raise AllocationError(f"candidates are given for sites that the inventory does not have: {', '.join(unknown)}")
    groups, bits = [], []
    for name, sites in inventory.groups().items():
        members = tuple(site.name for site in sites)
        chosen = [site for site in members if site in tables]
        if not chosen:
            continue
        if len(chosen) < len(members):
            missing = ", ".join(sorted(set(members) - set(chosen)))
            raise AllocationError(f"the sites of group {name!r} choose together; candidates are missing for {missing}")
        common = sorted(set.intersection(*(set(tables[site]) for site in members)))
        if not common:
            each = "; ".join(f"{site}: {sorted(tables[site])}" for site in members)
            raise AllocationError(f"the sites of group {name!r} share one grid but no candidate bits ({each})")
        groups.append(members)
        bits.append(tuple(common))
    return tuple(groups), tuple(bits)


def _check_counted(rows: Sequence[tuple[str, CostRow]], decision: Mapping[str, int]) -> None:
    for name, row in rows:
        missing = sorted({site for term in row.terms for site in term.sites} - set(decision))
        if missing:
            raise AllocationError(
                f"{name} counts sites that have no candidates: {', '.join(missing)}; "
                "give a site that keeps its bits a single candidate"
            )

"""EnergyTable, and what it shares with LatencyTable: a cost of each op at each choice of bits."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mpq_plugins.costs.cost_models import CostRow, CostTerm
from mpq_plugins.errors import CostError
from mpq_plugins.inventory import FLOAT_BITS, Inventory, Site

if TYPE_CHECKING:
    pass

Bits = int | tuple[int, int]
"""Bits of a site, or (weight bits, input activation bits)."""
Entries = Mapping[str, Mapping[Bits, float]]


class OpTable(ABC):
    """What the two tables share: a cost model that is a sum over ops, each looked up by its bits."""

    noun: str
    workloads: Mapping[str, str]

    @property
    @abstractmethod
    def entries(self) -> Entries:
        """Costs of one call by key and bits."""

    @property
    @abstractmethod
    def overhead(self) -> float:
        """What one sample costs on top of its ops."""

    @property
    @abstractmethod
    def unit(self) -> str:
        """The unit of the costs."""

    def rows(self, inventory: Inventory) -> Sequence[CostRow]:
        """One row: a term per op with an entry, and the overhead.

        Raises CostError naming the weights that have no entry.
        """
        keys = {site.name: self.workloads.get(site.name, site.name) for site in inventory}
        missing = [s.name for s in inventory.weights if s.macs and keys[s.name] not in self.entries]
        if missing:
            raise CostError(f"the {self.noun} table has no entry for {', '.join(missing)}; measure or add them")
        timed = [site for site in inventory if keys[site.name] in self.entries]
        overhead = CostTerm((), lambda: self.overhead)
        terms = [term for site in timed for term in self._terms(site, keys[site.name])]
        return (CostRow("all ops", (overhead, *terms)),)

    def holes(self, inventory: Inventory, bits: Mapping[str, Iterable[int]]) -> tuple[str, ...]:
        """What a search over these bits of each site would miss, each in words; empty where nothing is.

        >>> table = EnergyTable({"fc.weight": {8: 0.5}})
        >>> inventory = Inventory([Site("fc.weight", "weight", "linear", (2, 3), macs=6)])
        >>> table.holes(inventory, {"fc.weight": (4, 8)})
        ('fc.weight at 4 bits',)
        """
        found: list[str] = []
        for site in inventory:
            key = self.workloads.get(site.name, site.name)
            if key not in self.entries:
                found += [site.name] if site.kind == "weight" and site.macs else []
                continue
            pairs = isinstance(next(iter(self.entries[key])), tuple)
            sources = [b for name in site.inputs for b in bits.get(name, ())] or [FLOAT_BITS]
            asked: list[Bits] = list(bits.get(site.name, ()))
            if pairs:
                asked = [(own, source) for own in bits.get(site.name, ()) for source in dict.fromkeys(sources)]
            found += [f"{site.name} at {_words(b)}" for b in asked if b not in self.entries[key]]
        return tuple(found)

    def _terms(self, site: Site, key: str) -> list[CostTerm]:
        calls = max(1, len(site.inputs)) if site.kind == "weight" else 1
        if not isinstance(next(iter(self.entries[key])), tuple):
            return [CostTerm((site.name,), lambda bits: calls * self._look_up(site, key, bits))]
        if site.kind != "weight":
            raise CostError(f"{site.name} is an activation: its {self.noun} depends on its own bits, not on pairs")
        if not site.inputs:
            return [CostTerm((site.name,), lambda bits: self._look_up(site, key, (bits, FLOAT_BITS)))]
        return [
            CostTerm((site.name, source), lambda bits, others: self._look_up(site, key, (bits, others)))
            for source in site.inputs
        ]

    def _look_up(self, site: Site, key: str, bits: Bits) -> float:
        entries = self.entries[key]
        if bits not in entries:
            where = site.name if key == site.name else f"{site.name} (workload {key})"
            has = ", ".join(_words(known) for known in entries)
            raise CostError(f"the {self.noun} table has no entry for {where} at {_words(bits)}; it has {has}")
        return entries[bits]

    def _check(self, words: str) -> None:
        _check_amount(f"{self.noun} (the overhead)", words, self.overhead)
        for key, entries in self.entries.items():
            if not entries or len({isinstance(bits, tuple) for bits in entries}) > 1:
                raise CostError(
                    f"the entries of {key!r} must all be for bits, or all for (weight bits, activation bits), "
                    f"and there must be one; got {list(entries)}"
                )
            for bits, value in entries.items():
                if isinstance(bits, tuple) and len(bits) != 2:
                    raise CostError(f"{key!r} has an entry for {bits}; give (weight bits, activation bits)")
                _check_amount(f"{self.noun} ({key!r} at {_words(bits)})", words, value)


@dataclass(frozen=True)
class EnergyTable(OpTable):
    """A cost model: the sum of what every op takes, in millijoules of one sample.

    The fields are those of LatencyTable.

    >>> from mpq_plugins.costs.cost_models import cost_of
    >>> fc = Site("fc.weight", "weight", "linear", (2, 3), macs=6)
    >>> cost_of(EnergyTable({"fc.weight": {4: 0.5}}), Inventory([fc]), {"fc.weight": 4})
    0.5
    """

    millijoules: Entries
    workloads: Mapping[str, str] = field(default_factory=dict)
    overhead_mj: float = 0.0

    __hash__ = None  # type: ignore[assignment]  # holds mappings
    noun = "energy"

    def __post_init__(self) -> None:
        self._check("millijoules")

    @property
    def entries(self) -> Entries:
        """The millijoules."""
        return self.millijoules

    @property
    def overhead(self) -> float:
        """Millijoules of one sample on top of its ops."""
        return self.overhead_mj

    @property
    def unit(self) -> str:
        """Millijoules."""
        return "mJ"


def _words(bits: Bits) -> str:
    if isinstance(bits, tuple):
        return f"{bits[0]}-bit weights with {bits[1]}-bit activations"
    return f"{bits} bits"


def _check_amount(what: str, words: str, value: float) -> None:
    if not (math.isfinite(value) and value >= 0):
        raise CostError(f"the {what} must be a finite number of {words}, 0 or more, got {value}")

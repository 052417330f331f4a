"""LatencyTable: milliseconds of each op at each choice of bits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mpq_plugins.costs import FLOAT_BITS, CostRow, CostTerm
from mpq_plugins.errors import CostError
from mpq_plugins.inventory import Inventory, Site

Bits = int | tuple[int, int]
"""Bits of a site, or (weight bits, input activation bits)."""


@dataclass(frozen=True)
class LatencyTable:
    """A cost model: the sum of what every op takes, in milliseconds of one sample.

    milliseconds: by site name, or by the workload that the site runs: {bits: milliseconds of one
        call}. Bits are one number where only the site's own bits matter, or (weight bits, input
        activation bits). A weight whose site names no input looks up 32 activation bits; one with
        several inputs (a shared module) is called once for each.
    workloads: site name -> key of ``milliseconds``, for tables measured once per geometry. A site
        that is not in it is looked up by its name.
    overhead_ms: what one sample takes on top of its ops.

    Every weight that does MACs needs an entry; an activation counts if it has one. Bits that are
    asked for and missing raise CostError, as do entries that are not finite or negative.

    >>> table = LatencyTable({"fc.weight": {(4, 8): 0.5, (8, 8): 0.75}}, overhead_ms=0.25)
    >>> fc = Site("fc.weight", "weight", "linear", (2, 3), macs=6, inputs=("x",))
    >>> sites = [Site("x", "activation", "input", (3,)), fc]
    >>> from mpq_plugins.costs import cost_of
    >>> cost_of(table, Inventory(sites), {"x": 8, "fc.weight": 4})
    0.75
    """

    milliseconds: Mapping[str, Mapping[Bits, float]]
    workloads: Mapping[str, str] = field(default_factory=dict)
    overhead_ms: float = 0.0
    unit: str = field(default="ms", init=False)

    __hash__ = None  # type: ignore[assignment]  # holds mappings

    def __post_init__(self) -> None:
        _check_milliseconds("the overhead", self.overhead_ms)
        for key, entries in self.milliseconds.items():
            if not entries or len({isinstance(bits, tuple) for bits in entries}) > 1:
                raise CostError(
                    f"the entries of {key!r} must all be for bits, or all for (weight bits, activation bits), "
                    f"and there must be one; got {list(entries)}"
                )
            for bits, value in entries.items():
                if isinstance(bits, tuple) and len(bits) != 2:
                    raise CostError(f"{key!r} has an entry for {bits}; give (weight bits, activation bits)")
                _check_milliseconds(f"{key!r} at {_words(bits)}", value)

    def rows(self, inventory: Inventory) -> Sequence[CostRow]:
        """One row: a term per op with an entry, and the overhead.

        Raises CostError naming the weights that have no entry.
        """
        keys = {site.name: self.workloads.get(site.name, site.name) for site in inventory}
        missing = [s.name for s in inventory.weights if s.macs and keys[s.name] not in self.milliseconds]
        if missing:
            raise CostError(f"the latency table has no entry for {', '.join(missing)}; measure or add them")
        timed = [site for site in inventory if keys[site.name] in self.milliseconds]
        overhead = CostTerm((), lambda: self.overhead_ms)
        terms = [term for site in timed for term in self._terms(site, keys[site.name])]
        return (CostRow("all ops", (overhead, *terms)),)

    def _terms(self, site: Site, key: str) -> list[CostTerm]:
        calls = max(1, len(site.inputs)) if site.kind == "weight" else 1
        if not isinstance(next(iter(self.milliseconds[key])), tuple):
            return [CostTerm((site.name,), lambda bits: calls * self._look_up(site, key, bits))]
        if site.kind != "weight":
            raise CostError(f"{site.name} is an activation: its latency depends on its own bits, not on pairs")
        if not site.inputs:
            return [CostTerm((site.name,), lambda bits: self._look_up(site, key, (bits, FLOAT_BITS)))]
        return [
            CostTerm((site.name, source), lambda bits, others: self._look_up(site, key, (bits, others)))
            for source in site.inputs
        ]

    def _look_up(self, site: Site, key: str, bits: Bits) -> float:
        entries = self.milliseconds[key]
        if bits not in entries:
            where = site.name if key == site.name else f"{site.name} (workload {key})"
            has = ", ".join(_words(known) for known in entries)
            raise CostError(f"the latency table has no entry for {where} at {_words(bits)}; it has {has}")
        return entries[bits]


def _words(bits: Bits) -> str:
    if isinstance(bits, tuple):
        return f"{bits[0]}-bit weights with {bits[1]}-bit activations"
    return f"{bits} bits"


def _check_milliseconds(what: str, value: float) -> None:
    if not (math.isfinite(value) and value >= 0):
        raise CostError(f"the latency ({what}) must be a finite number of milliseconds, 0 or more, got {value}")

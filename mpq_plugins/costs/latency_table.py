"""LatencyTable: milliseconds of each op at each choice of bits, and its file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from mpq_plugins.costs.cost_models import CostModel
from mpq_plugins.costs.op_table import Bits, EnergyTable, Entries, OpTable
from mpq_plugins.errors import CostError, MPQError
from mpq_plugins.hardware.device import Device
from mpq_plugins.registry.version import __version__
from mpq_plugins.stored import whole_file
from mpq_plugins.stored.heading import Heading
from mpq_plugins.stored.schema import Schema

HEADING = Heading("mpq-latency-table", 1, "latency table", CostError)


@dataclass(frozen=True)
class LatencyTable(OpTable):
    """A cost model: the sum of what every op takes, in milliseconds of one sample.

    milliseconds: by site name, or by the workload that the site runs: {bits: milliseconds of one
        call}. Bits are one number where only the site's own bits matter, or (weight bits, input
        activation bits). A weight whose site names no input looks up 32 activation bits; one with
        several inputs (a shared module) is called once for each.
    workloads: site name -> key of ``milliseconds``, for tables measured once per geometry. A site
        that is not in it is looked up by its name.
    overhead_ms: what one sample takes on top of its ops.
    device: what it was measured on, where it was measured; a search for another target refuses it.
    energy: the same in millijoules, where the device tells. spread_ms: of the entries, by key; half of
        the range of the middle half of the samples.

    Every weight that does MACs needs an entry; an activation counts if it has one. Bits that are
    asked for and missing raise CostError, as do entries that are not finite or negative.

    >>> table = LatencyTable({"fc.weight": {(4, 8): 0.5, (8, 8): 0.75}}, overhead_ms=0.25)
    >>> from mpq_plugins.inventory import Inventory, Site
    >>> fc = Site("fc.weight", "weight", "linear", (2, 3), macs=6, inputs=("x",))
    >>> sites = [Site("x", "activation", "input", (3,)), fc]
    >>> from mpq_plugins.costs.cost_models import cost_of
    >>> cost_of(table, Inventory(sites), {"x": 8, "fc.weight": 4})
    0.75
    """

    milliseconds: Entries
    workloads: Mapping[str, str] = field(default_factory=dict)
    overhead_ms: float = 0.0
    device: Device | None = None
    energy: EnergyTable | None = None
    spread_ms: Entries = field(default_factory=dict)

    __hash__ = None  # type: ignore[assignment]  # holds mappings
    noun = "latency"

    def __post_init__(self) -> None:
        self._check("milliseconds")

    @property
    def entries(self) -> Entries:
        """The milliseconds."""
        return self.milliseconds

    @property
    def overhead(self) -> float:
        """Milliseconds of one sample on top of its ops."""
        return self.overhead_ms

    @property
    def unit(self) -> str:
        """Milliseconds."""
        return "ms"

    def resources(self) -> dict[str, CostModel]:
        """What a budget can limit by it: latency_ms, and energy_mj where the device tells energies."""
        return {"latency_ms": self} | ({} if self.energy is None else {"energy_mj": self.energy})

    def check_target(self, target: str) -> None:
        """Raise CostError where the table was measured for another target than the one of this name."""
        if self.device is not None and self.device.target != target:
            raise CostError(
                f"the latency table was measured on target {self.device.target!r}, and the search is for {target!r}; "
                f"measure for {target!r}, or search for {self.device.target!r}"
            )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write JSON, which another machine can search with. Raises CostError."""
        _save(self, path)

    @staticmethod
    def check(latency: object) -> None:
        """Raise CostError for what a search is given as its table, and is none; None is no table."""
        if latency is not None and not isinstance(latency, LatencyTable):
            raise CostError(
                "latency is a LatencyTable, which measure_latency returns and LatencyTable.load(path) reads, and not a "
                f"{type(latency).__name__}"
            )

    @classmethod
    def load(cls, path: str | os.PathLike[str], device: Device | None = None) -> LatencyTable:
        """Read what ``save`` wrote. device: refuse a table of any other.

        Raises CostError for a damaged or newer file, and for one of another device, saying in what it differs.
        """
        return _load(path, device)


ByBits = dict[str, dict[str, float]]
"""Costs by key, and by bits as text: "8", or "4x8" for pairs."""


class TableFields(Schema):
    """The file of a table. target, device: None for one that was not measured. millijoules: None where nobody tells."""

    error: ClassVar[type[MPQError]] = CostError
    format: Literal["mpq-latency-table"]
    schema_version: Literal[1]
    mpq_plugins: str = ""
    target: str | None = None
    device: dict[str, str] | None = None
    overhead_ms: float
    workloads: dict[str, str]
    milliseconds: ByBits
    spread_ms: ByBits
    millijoules: ByBits | None = None
    overhead_mj: float = 0.0

    def table(self) -> LatencyTable:
        """The table of the file. Raises CostError, and ValueError for bits that are none."""
        energy = None
        if self.millijoules is not None:
            energy = EnergyTable(_entries(self.millijoules), self.workloads, self.overhead_mj)
        device = None if self.target is None else Device(self.target, self.device or {})
        spread, milliseconds = _entries(self.spread_ms), _entries(self.milliseconds)
        return LatencyTable(milliseconds, self.workloads, self.overhead_ms, device, energy, spread)


def _save(table: LatencyTable, path: str | os.PathLike[str]) -> None:
    """Write the table. Raises CostError where it cannot be written."""
    device, energy = table.device, table.energy
    fields = TableFields(
        **HEADING.fields,
        mpq_plugins=__version__,
        target=None if device is None else device.target,
        device=None if device is None else dict(device.facts),
        overhead_ms=table.overhead_ms,
        workloads=dict(table.workloads),
        milliseconds=_texts(table.milliseconds),
        spread_ms=_texts(table.spread_ms),
        millijoules=None if energy is None else _texts(energy.millijoules),
        overhead_mj=0.0 if energy is None else energy.overhead_mj,
    )
    whole_file.write(path, fields.to_json(), HEADING.name, CostError)


def _load(path: str | os.PathLike[str], device: Device | None = None) -> LatencyTable:
    fields = HEADING.load(TableFields, path)
    try:
        table = fields.table()
    except ValueError as error:
        raise HEADING.damaged(error, str(path)) from None
    if device is not None:
        difference = device.target if table.device is None else table.device.difference(device)
        if difference:
            raise CostError(f"{path} was measured on another device: {difference}; measure again on this one")
    return table


def _texts(entries: Entries) -> ByBits:
    return {key: {_text(bits): value for bits, value in row.items()} for key, row in entries.items()}


def _entries(texts: ByBits) -> dict[str, dict[Bits, float]]:
    return {key: {_bits(text): value for text, value in row.items()} for key, row in texts.items()}


def _text(bits: Bits) -> str:
    return f"{bits[0]}x{bits[1]}" if isinstance(bits, tuple) else str(bits)


def _bits(text: str) -> Bits:
    parts = tuple(int(part) for part in text.split("x"))
    return parts[0] if len(parts) == 1 else (parts[0], parts[1])

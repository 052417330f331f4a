"""The JSON of a latency table, to carry it from the device to where the search runs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from mpq_plugins import __version__
from mpq_plugins.errors import CostError
from mpq_plugins.latency import json_file
from mpq_plugins.latency.device import Device
from mpq_plugins.latency_table import Bits, EnergyTable, Entries, LatencyTable
from mpq_plugins.stored import json_text, whole_file
from mpq_plugins.stored.heading import Heading

HEADING = Heading("mpq-latency-table", 1, "latency table", CostError)


def save(table: LatencyTable, path: str | os.PathLike[str]) -> None:
    """Write the table. Raises CostError where it cannot be written."""
    data: dict[str, Any] = {**HEADING.fields, "mpq_plugins": __version__}
    if table.device is not None:
        data |= {"target": table.device.target, "device": dict(table.device.facts)}
    data |= {"overhead_ms": table.overhead_ms, "workloads": dict(table.workloads)}
    data |= {"milliseconds": _texts(table.milliseconds), "spread_ms": _texts(table.spread_ms)}
    if table.energy is not None:
        data |= {"millijoules": _texts(table.energy.millijoules), "overhead_mj": table.energy.overhead_mj}
    whole_file.write(path, json_text.dumps(data), HEADING.name, CostError)


def load(path: str | os.PathLike[str], device: Device | None = None) -> LatencyTable:
    """Read a table; see LatencyTable.load."""
    table = json_file.read(path, HEADING, _table)
    if device is not None:
        difference = device.target if table.device is None else table.device.difference(device)
        if difference:
            raise CostError(f"{path} was measured on another device: {difference}; measure again on this one")
    return table


def _table(data: Mapping[str, Any]) -> LatencyTable:
    workloads = {str(site): str(key) for site, key in data["workloads"].items()}
    energy = None
    if "millijoules" in data:
        energy = EnergyTable(_entries(data["millijoules"]), workloads, float(data["overhead_mj"]))
    return LatencyTable(
        _entries(data["milliseconds"]),
        workloads,
        float(data["overhead_ms"]),
        Device(data["target"], data["device"]) if "target" in data else None,
        energy,
        _entries(data["spread_ms"]),
    )


def _texts(entries: Entries) -> dict[str, dict[str, float]]:
    return {key: {_text(bits): value for bits, value in row.items()} for key, row in entries.items()}


def _entries(texts: dict[str, dict[str, float]]) -> dict[str, dict[Bits, float]]:
    return {str(key): {_bits(text): float(value) for text, value in row.items()} for key, row in texts.items()}


def _text(bits: Bits) -> str:
    return f"{bits[0]}x{bits[1]}" if isinstance(bits, tuple) else str(bits)


def _bits(text: str) -> Bits:
    parts = tuple(int(part) for part in text.split("x"))
    return parts[0] if len(parts) == 1 else (parts[0], parts[1])

"""The energy counters of Intel and AMD processors (RAPL), where the system lets us read them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path("/sys/class/powercap")
LONGEST_UPDATE = 0.02
"""Seconds that a measurement lasts at least: the counters move about every millisecond."""


def packages(root: Path = ROOT) -> tuple[Path, ...]:
    """The counters of whole processors that can be read; none in most virtual machines and for most users."""
    found = []
    for folder in sorted(root.glob("*-rapl:*")) if root.is_dir() else []:
        if folder.name.count(":") == 1 and _read(folder / "energy_uj") is not None:
            found.append(folder)
    return tuple(found)


def joules_per_call(call: Callable[[], object], root: Path = ROOT, shortest: float = LONGEST_UPDATE) -> float | None:
    """Joules that all processors take for one call, what else they do included; None without counters."""
    counters = packages(root)
    if not counters:
        return None
    before = [_read(folder / "energy_uj") for folder in counters]
    start, calls = time.perf_counter(), 0
    while calls == 0 or time.perf_counter() - start < shortest:
        call()
        calls += 1
    total = 0.0
    for folder, first in zip(counters, before, strict=True):
        last = _read(folder / "energy_uj")
        if first is None or last is None:
            return None
        wrapped = last < first
        total += last - first + ((_read(folder / "max_energy_range_uj") or 0) if wrapped else 0)
    return total * 1e-6 / calls if total > 0 else None


def _read(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None

"""Device: what measurements belong to, and what a device tells about itself."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from mpq_plugins.errors import CostError
from mpq_plugins.hardware.workload import Workload


def as_it_is(workload: Workload) -> Workload | None:
    """The ``as_run`` of a device on which every workload is one of its own."""
    return workload


@dataclass(frozen=True)
class Device:
    """A device, as the plug-in that measures on it describes it (hook ``mpq_describe_device``).

    target: name of the target that it runs. facts: all that a measurement depends on, as text: processor,
        engine, threads, versions of libraries. Measurements are kept by target and facts.
    as_run: the workload that the device really runs for one: where 3-bit weights sit in bytes, the
        8-bit one. Workloads that run alike are measured once and cost the same; None costs nothing.
    energy: joules of one call of a workload, or None; absent where the device cannot tell.
    modelled: the times are computed and not measured, so once is enough.

    >>> board = Device("acme-npu", {"board": "rev 2", "driver": "1.4"})
    >>> board.difference(Device("acme-npu", {"board": "rev 3", "driver": "1.4"}))
    "board is 'rev 2' there and 'rev 3' here"
    """

    target: str
    facts: Mapping[str, str]
    as_run: Callable[[Workload], Workload | None] = field(default=as_it_is, compare=False)
    energy: Callable[[Workload], float | None] | None = field(default=None, compare=False)
    modelled: bool = field(default=False, compare=False)

    __hash__ = None  # type: ignore[assignment]  # holds a mapping

    def __post_init__(self) -> None:
        if not isinstance(self.facts, Mapping) or not self.facts:
            raise CostError(f"a device needs facts that tell it from others, got {self.facts!r}")
        object.__setattr__(self, "facts", {str(name): str(value) for name, value in self.facts.items()})

    @property
    def fingerprint(self) -> str:
        """Twelve hexadecimal digits that differ where target or facts do."""
        text = json.dumps([self.target, sorted(self.facts.items())])
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def difference(self, other: Device) -> str:
        """In what this device ("there") differs from another ("here"), in words; empty if in nothing."""
        mine, others = ({"target": d.target, **d.facts} for d in (self, other))
        return ", ".join(
            f"{name} is {mine.get(name)!r} there and {others.get(name)!r} here"
            for name in {**mine, **others}
            if mine.get(name) != others.get(name)
        )


def machine_facts() -> dict[str, str]:
    """What is known of this machine: processor, cores that this process may use, operating system."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "processor": _processor(),
        "machine": platform.machine(),
        "cores": str(cores),
        "system": f"{platform.system()} {platform.release()}",
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    found: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        found.setdefault(name.strip(), value.strip())
    parts = [
        found.get("model name", ""),
        *(f"{n} {found[n]}" for n in ("cpu family", "model", "stepping") if n in found),
    ]
    return ", ".join(part for part in parts if part) or platform.processor() or "unknown"

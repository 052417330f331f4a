"""TimingStore: the samples of one device, in a file that survives an interruption and can be carried elsewhere."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mpq_plugins.costs import json_file
from mpq_plugins.errors import CostError
from mpq_plugins.hardware.device import Device
from mpq_plugins.hardware.workload import Workload
from mpq_plugins.latency.cache_directory import cache_directory
from mpq_plugins.latency.clock import Timing
from mpq_plugins.stored import json_text, whole_file
from mpq_plugins.stored.heading import Heading
from mpq_plugins.versions.version import __version__

HEADING = Heading("mpq-timings", 1, "file of measurements", CostError, "delete it to measure again")
CACHE_PART = "latency"


@dataclass
class TimingStore:
    """Seconds and joules of every sample of every workload, of one device.

    path: the file that ``save`` writes; None keeps them in memory.
    """

    device: Device
    path: Path | None = None
    seconds: dict[Workload, list[float]] = field(default_factory=dict)
    joules: dict[Workload, list[float]] = field(default_factory=dict)

    @classmethod
    def in_cache(cls, device: Device) -> TimingStore:
        """What was measured on this device before; below ``$MPQ_CACHE_DIR`` or the user's cache directory.

        Where there can be no such directory, samples are kept in memory.
        """
        try:
            directory = cache_directory(CACHE_PART)
        except OSError:
            return cls(device)
        return cls.at(directory / f"{device.target}-{device.fingerprint}.json", device)

    @classmethod
    def at(cls, path: str | os.PathLike[str], device: Device) -> TimingStore:
        """What a file holds, which need not exist yet.

        Raises CostError where it is of another device (saying in what it differs), damaged or newer.
        """
        found = Path(path)
        if not found.exists():
            return cls(device, found)
        store = cls.load(found)
        difference = store.device.difference(device)
        if difference:
            raise CostError(
                f"{found} was measured on another device: {difference}. Measure again, with another file, or load it "
                "as it is with LatencyTable.load to search for that device from here"
            )
        return cls(device, found, store.seconds, store.joules)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> TimingStore:
        """Read a file, of whatever device. Raises CostError where it is damaged, newer or not to be read."""

        def parse(data: Mapping[str, Any]) -> TimingStore:
            store = cls(Device(data["target"], data["device"]), Path(path))
            for entry in data["timings"]:
                workload = Workload.from_dict(entry["workload"])
                store.seconds[workload] = _positive(entry["seconds"])
                if "joules" in entry:
                    store.joules[workload] = _positive(entry["joules"])
            return store

        return json_file.read(path, HEADING, parse)

    def save(self) -> None:
        """Write the file, all of it or nothing; does nothing without a path."""
        if self.path is None:
            return
        whole_file.write(self.path, json_text.dumps(self.to_dict()), HEADING.name, CostError, make_folder=True)

    def to_dict(self) -> dict[str, Any]:
        """The content of the file."""
        timings: list[dict[str, Any]] = []
        for workload, seconds in self.seconds.items():
            entry: dict[str, Any] = {"workload": workload.to_dict(), "seconds": seconds}
            timings.append(entry | ({"joules": self.joules[workload]} if self.joules.get(workload) else {}))
        return {
            **HEADING.fields,
            "mpq_plugins": __version__,
            "target": self.device.target,
            "device": dict(self.device.facts),
            "timings": timings,
        }

    def samples(self, workload: Workload) -> int:
        """How many samples there are of a workload."""
        return len(self.seconds.get(workload, ()))

    def add(self, workload: Workload, seconds: float, joules: float | None = None) -> None:
        """Keep one sample."""
        self.seconds.setdefault(workload, []).append(seconds)
        if joules is not None:
            self.joules.setdefault(workload, []).append(joules)

    def forget(self, workloads: Iterable[Workload]) -> None:
        """Drop the samples of these workloads."""
        for workload in workloads:
            self.seconds.pop(workload, None)
            self.joules.pop(workload, None)

    def timings(self) -> Mapping[Workload, Timing]:
        """The timing of every workload that has a sample."""
        return {w: Timing.of(values, self.joules.get(w, ())) for w, values in self.seconds.items() if values}


def _positive(values: Any) -> list[float]:
    numbers = [float(value) for value in values]
    if not all(math.isfinite(value) and value > 0 for value in numbers):
        raise ValueError(f"samples are positive numbers, got {values}")
    return numbers

"""TimingStore: the samples of one device, in a file that survives an interruption and can be carried elsewhere."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from mpq_plugins.errors import CostError, MPQError
from mpq_plugins.hardware.device import Device
from mpq_plugins.hardware.workload import Workload
from mpq_plugins.latency.cache_directory import cache_directory
from mpq_plugins.latency.clock import Timing
from mpq_plugins.registry.version import __version__
from mpq_plugins.stored import whole_file
from mpq_plugins.stored.heading import Heading
from mpq_plugins.stored.schema import Schema

HEADING = Heading("mpq-timings", 1, "file of measurements", CostError, "delete it to measure again")
CACHE_PART = "latency"


Samples = list[Annotated[float, Field(gt=0, allow_inf_nan=False)]]


class TimingEntry(Schema):
    """What was measured of one workload: seconds, and joules where the device tells."""

    error: ClassVar[type[MPQError]] = CostError
    workload: dict[str, Any]
    seconds: Samples
    joules: Samples | None = None


class TimingFields(Schema):
    """The file of measurements of one device."""

    error: ClassVar[type[MPQError]] = CostError
    format: Literal["mpq-timings"]
    schema_version: Literal[1]
    mpq_plugins: str = ""
    target: str
    device: dict[str, str]
    timings: list[TimingEntry]


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
        fields = HEADING.load(TimingFields, path)
        store = cls(Device(fields.target, fields.device), Path(path))
        try:
            for entry in fields.timings:
                workload = Workload.from_dict(entry.workload)
                store.seconds[workload] = list(entry.seconds)
                if entry.joules:
                    store.joules[workload] = list(entry.joules)
        except (KeyError, TypeError, ValueError) as error:
            raise HEADING.damaged(error, str(path)) from None
        return store

    def save(self) -> None:
        """Write the file, all of it or nothing; does nothing without a path."""
        if self.path is None:
            return
        whole_file.write(self.path, self.fields().to_json(), HEADING.name, CostError, make_folder=True)

    def fields(self) -> TimingFields:
        """The content of the file."""
        timings = [
            TimingEntry(workload=workload.to_dict(), seconds=seconds, joules=self.joules.get(workload) or None)
            for workload, seconds in self.seconds.items()
        ]
        return TimingFields(
            **HEADING.fields,
            mpq_plugins=__version__,
            target=self.device.target,
            device=dict(self.device.facts),
            timings=timings,
        )

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

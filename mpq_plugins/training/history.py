"""History: what a training went through, step by step, as plain numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol


class ScalarWriter(Protocol):
    """What TensorBoard's SummaryWriter has, in torch and in TensorFlow's own wrappers."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> Any:
        """Write one number."""


@dataclass(frozen=True)
class Record:
    """One moment. bits: expected bits by slot. controls: of the schedule. resources: cost by limited resource."""

    step: int
    penalty: float
    bits: Mapping[str, float]
    thresholds: Mapping[str, float]
    controls: Mapping[str, float]
    resources: Mapping[str, float]


@dataclass
class History:
    """Records in order of steps.

    >>> history = History()
    >>> history.add(Record(0, 1.5, {"fc.weight": 8.0}, {"fc.weight": 1.0}, {"temperature": 1.0}, {"bops": 48.0}))
    >>> history.last.penalty, len(history.records)
    (1.5, 1)
    """

    records: list[Record] = field(default_factory=list)

    def add(self, record: Record) -> None:
        """Append one."""
        self.records.append(record)

    @property
    def last(self) -> Record:
        """The newest record."""
        return self.records[-1]

    def log(self, writer: ScalarWriter, prefix: str = "mpq") -> None:
        """Write every record to TensorBoard: bits and thresholds by site, penalty, controls, resources."""
        for record in self.records:
            log_record(record, writer, prefix)

    def to_json(self) -> str:
        """All records as JSON."""
        return json.dumps([vars(record) for record in self.records])

    @classmethod
    def from_json(cls, text: str) -> History:
        """The inverse of ``to_json``."""
        return cls([Record(**fields) for fields in json.loads(text)])


def log_record(record: Record, writer: ScalarWriter, prefix: str = "mpq") -> None:
    """Write one record."""
    writer.add_scalar(f"{prefix}/penalty", record.penalty, record.step)
    for group in ("bits", "thresholds", "controls", "resources"):
        for name, value in getattr(record, group).items():
            writer.add_scalar(f"{prefix}/{group}/{name}", value, record.step)

"""A model together with calibration data that go through it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor, nn

from mpq_plugins.targets import Target
from mpq_torch.batches import Batch, as_batches
from mpq_torch.calling import takes_of
from mpq_torch.reader.check import check_reading
from mpq_torch.reader.reading import Reading, read_model


def read_with_data(
    model: nn.Module, calibration: Iterable[Any] | Tensor, keep_float: Iterable[str] = (), target: Target | None = None
) -> tuple[Reading, list[Batch]]:
    """The model as a graph, and the calibration set as a list of batches. target: as of read_model.

    Raises as as_batches, read_model and check_reading do.
    """
    batches = as_batches(calibration, takes_of(model))
    reading = read_model(model, batches[0], keep_float, target=target, refusing=True)
    check_reading(model, reading, batches[0])
    return reading, batches

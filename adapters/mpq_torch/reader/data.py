"""A model together with calibration data that go through it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mpq_plugins.errors import ModelError
from mpq_plugins.graph.evaluation import FloatModel
from mpq_plugins.hardware.target import Target
from mpq_plugins.search.estimate import AtOnce, cut_to_fit, samples_to_measure
from mpq_torch.calling.arguments import takes_of
from mpq_torch.calling.batches import Batch, as_batches, in_chunks, samples_of
from mpq_torch.reader.check import check_reading
from mpq_torch.reader.reading import Reading, read_model
from mpq_torch.runner.threads import one_thread


@one_thread()
def read_with_data(
    model: nn.Module, calibration: Iterable[Any] | Tensor, keep_float: Iterable[str] = (), target: Target | None = None
) -> tuple[Reading, list[Batch]]:
    """The model as a graph, and the calibration set as a list of batches. target: as of read_model.

    Raises as as_batches, read_model and check_reading do.
    """
    batches = as_batches(calibration, takes_of(model))
    reading = read_model(model, batches[0], keep_float, target=target, refusing=True)
    check_reading(model, reading, batches[0])
    _check_sizes(reading, batches)
    return reading, batches


def _check_sizes(reading: Reading, batches: Sequence[Batch]) -> None:
    """Raise ModelError, with its number, for a batch of other sizes than the first that does not go through the model.

    Batches of other images may; of each size the first one is tried, with a sample of it where any number will do.
    """
    known: set[object] = set()
    run = FloatModel(reading.graph, reading.runner)
    for index, batch in enumerate(batches):
        given = reading.given(batch)
        sizes = tuple(tuple(x.shape[1:]) for x in given if isinstance(x, Tensor))
        if index and sizes not in known and not reading.one_batch_size:
            try:
                with torch.no_grad():
                    run.outputs([x[:1] if isinstance(x, Tensor) and x.dim() else x for x in given])
            except (RuntimeError, ValueError, IndexError) as error:
                shown = ", ".join(str(tuple(x.shape)) for x in given if isinstance(x, Tensor))
                reason = str(error).partition("\n")[0]
                raise ModelError(
                    f"batch {index} holds inputs of the shape {shown}, which do not go through the model as the first "
                    f"batch does: {reason}"
                ) from None
        known.add(sizes)


def chunks_of(
    reading: Reading,
    batches: Sequence[tuple[Any, ...]],
    at_once: AtOnce = samples_to_measure,
    memory: int | None = None,
) -> list[tuple[Any, ...]]:
    """The calibration set in chunks that fit into ``memory``; of whole batches where the model takes one size only.

    batches: the first is what the model was read with. at_once: how many samples a chunk may hold. memory: bytes, by
    default the machine's. Raises ModelError where the last batch of a model of one size is smaller.
    """
    given = [reading.given(batch) for batch in batches]
    size = samples_of(given[0]) if reading.one_batch_size else 0
    return cut_to_fit(reading.graph, size, given, samples_of, in_chunks, at_once, memory)

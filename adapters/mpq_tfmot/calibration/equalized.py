"""Cross-layer equalization of a Keras model."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mpq_plugins.search import equalized as core
from mpq_tfmot.calibration.batches import as_chunks
from mpq_tfmot.reader.reading import read_model
from mpq_tfmot.reader.writing import with_graph, write_model


def equalize(model: Any, calibration: Iterable[Any] | Any) -> Any:
    """A model of the same function whose weights have evened-out ranges, for targets with one step per tensor.

    calibration: as for ``search``; it says which channels reach the bound of their ReLU6.
    Returns a functional tf_keras model, batch norms folded. Factors are powers of two.
    """
    reading = read_model(model)
    graph = core.equalized(reading.graph, reading.runner, as_chunks(calibration, reading))
    return write_model(with_graph(reading, graph), "equalized")

"""Calibration samples that a model blows up on, left out of what is measured: a grid for them would serve nobody else.

Thresholds of least squared error, moments and gradients are sums over samples, and one sample that makes a layer's
output a thousand times as large as all others do decides every one of them. EfficientNet-B0 has such images of
CIFAR-10: one of the first 256 takes its last blocks from 2 to 1,655 (benchmarks.unusual_samples), and their grids too.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.errors import CalibrationWarning
from mpq_plugins.graph.evaluation import FloatModel, Step, run_nodes
from mpq_plugins.graph.node import Node
from mpq_plugins.graph.runner import Runner, Tensor
from mpq_plugins.search.chunk import Chunk, first_axis, samples_of
from mpq_plugins.search.remembered import looked_once
from mpq_plugins.search.workers import ALONE, Workers
from mpq_plugins.terminal.progress import stage

TIMES = 16.0
"""A sample is unusual where its largest magnitude at a site is so many times the median sample's: of 8 bits, a grid
that holds it leaves 4 to that one."""
SHARE = 64
"""One sample in so many may be left out; where more are so large, large values are what the model has."""


def usual(
    model: FloatModel, chunks: Sequence[Chunk], workers: Workers = ALONE, progress: bool | None = None
) -> list[Chunk]:
    """The chunks with usual samples in the place of unusual ones, of which a CalibrationWarning tells.

    Looked at is what layers and adds give, sample by sample; not what the model is given, which is the user's. It takes
    one float pass, and none where the same model has been looked at with the same data.
    """
    counts = [samples_of(chunk) for chunk in chunks]
    total = sum(counts)
    sites = [node.name for node in model.graph.nodes if node.weighted or node.op == "add"]
    if total < SHARE or not sites:
        return list(chunks)
    unusual = looked_once(
        model.graph, model.runner, chunks, lambda: _unusual(model, chunks, counts, sites, workers, progress)
    )
    if not unusual or len(unusual) > total // SHARE:
        return list(chunks)
    warnings.warn(_sentence(unusual, total), CalibrationWarning, stacklevel=2)
    return _replaced(chunks, counts, set(unusual), model.runner)


def _unusual(
    model: FloatModel,
    chunks: Sequence[Chunk],
    counts: Sequence[int],
    sites: Sequence[str],
    workers: Workers,
    progress: bool | None,
) -> dict[int, tuple[float, str]]:
    """By number, the samples that are unusual at some site: at most how many times as large, and where."""
    total = sum(counts)
    found: dict[str, list[NDArray[np.float64]]] = {name: [] for name in sites}

    def look(chunk: Chunk) -> dict[str, NDArray[np.float64]]:
        noted: dict[str, NDArray[np.float64]] = {}
        run_nodes(model.graph, chunk, _noting(model, set(sites), noted, samples_of(chunk)), model.graph.outputs)
        return noted

    with stage("looking for unusual samples", progress, total) as advance:
        for noted, samples in zip(workers.ordered(look, chunks), counts, strict=True):
            for name, largest in noted.items():
                found[name].append(largest)
            advance(samples)
    unusual: dict[int, tuple[float, str]] = {}
    for name, parts in found.items():
        largest = np.concatenate(parts) if parts else np.zeros(0)
        median = float(np.median(largest)) if len(largest) == total else 0.0
        if median > 0:
            for index in np.flatnonzero(largest > TIMES * median).tolist():
                unusual[index] = max(unusual.get(index, (0.0, "")), (float(largest[index]) / median, name))
    return unusual


def _noting(model: FloatModel, sites: set[str], noted: dict[str, NDArray[np.float64]], samples: int) -> Step:
    """A step that notes the largest magnitude of each sample."""

    def step(node: Node, inputs: Sequence[Tensor]) -> Tensor:
        value = model.step(node, inputs)
        if node.name in sites:
            array = model.runner.numpy(value)
            if array.ndim > 1 and len(array) == samples:
                axes = tuple(range(1, array.ndim))
                noted[node.name] = np.maximum(array.max(axes), -array.min(axes)).astype(np.float64)
        return value

    return step


def _replaced(chunks: Sequence[Chunk], counts: Sequence[int], unusual: set[int], runner: Runner) -> list[Chunk]:
    """The chunks with a usual sample in the place of each of these, counted through; without those that hold no other.

    Every batch that stays keeps its size, which a model may ask for.
    """
    kept, first = [], 0
    for chunk, samples in zip(chunks, counts, strict=True):
        rows = [row for row in range(samples) if first + row not in unusual]
        if len(rows) == samples:
            kept.append(chunk)
        elif rows:
            places = [rows[int(np.argmin(np.abs(np.asarray(rows) - row)))] for row in range(samples)]
            kept.append(tuple(runner.take(x, places) if first_axis(x) == samples else x for x in chunk))
        first += samples
    return kept


def _sentence(unusual: dict[int, tuple[float, str]], total: int) -> str:
    worst = max(unusual, key=lambda index: unusual[index])
    times, site = unusual[worst]
    named = ", ".join(str(index) for index in sorted(unusual)[:10]) + (", ..." if len(unusual) > 10 else "")
    return (
        f"{len(unusual)} of {total} calibration samples left out ({named}, counted from 0): sample {worst} makes "
        f"{site!r} {times:.0f} times as large as the median sample does, and a grid that holds it would cost the "
        "others their bits"
    )

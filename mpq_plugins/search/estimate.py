"""How much memory a search and rounding take, known before anything is measured, and the chunks that fit."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from mpq_plugins.errors import TooLittleMemory
from mpq_plugins.graph.node import Graph, Node
from mpq_plugins.graph.weights import groups_of, matrix_shape
from mpq_plugins.rounding.moments.chunks import CHUNK, GRAIN
from mpq_plugins.rounding.moments.machine import machine_memory
from mpq_plugins.rounding.moments.thinning import COLUMNS
from mpq_plugins.rounding.row_parts import ELEMENTS, LEAST, at_once
from mpq_plugins.rounding.thin import few
from mpq_plugins.search.chunk import (
    MEMORY,
    check_whole,
    memory_in_sweep,
    memory_of,
    memory_of_pass,
    only_size,
    samples_at_once,
    samples_in_sweep,
)
from mpq_plugins.search.kept import IN_MEMORY
from mpq_plugins.sensitivity.fisher import DRAWS
from mpq_plugins.thresholds.search import TOGETHER

AtOnce = Callable[[Graph, int, int | None], int]
"""How many samples a chunk of a graph's data may hold, of a number of samples in all, within bytes of memory."""
Batch = TypeVar("Batch", bound=Sequence[Any])
_PARTS = 8
"""Arrays of so many elements of a weight that its rating works with."""
_FISHERS = 2
"""Matrices of the gradients at a layer's output that its rating works with: the mean, and what is factored of it."""
_COPIES = 13
"""Bytes of an element of a weight on its grid: the value, its code, and the float64 that sums exactly."""


def cut_to_fit(
    graph: Graph,
    batch_size: int,
    batches: Sequence[Batch],
    samples_of: Callable[[Batch], int],
    in_chunks: Callable[[Sequence[Batch], int], list[Batch]],
    at_once: AtOnce,
    memory: int | None,
) -> list[Batch]:
    """The calibration set in chunks that fit into ``memory`` bytes, by default the machine's.

    batch_size: the only one that the model takes, 0 where it takes any; chunks are then whole batches. in_chunks: cuts
    them. at_once: how many samples a chunk may hold. Raises ModelError where the last batch of a model of one size is
    smaller.
    """
    size = only_size(graph, batch_size)
    chunks = in_chunks(batches, size or at_once(graph, sum(map(samples_of, batches)), memory))
    if size:
        check_whole([samples_of(chunk) for chunk in chunks], size)
    return chunks


def samples_to_measure(graph: Graph, total: int, limit: int | None = None) -> int:
    """Samples of a chunk of a search, so that all of it keeps within ``limit`` bytes where that is possible.

    total: samples of the calibration set. limit: by default the machine's memory. What a limit leaves above MEMORY
    changes nothing, so machines agree.
    """
    return samples_at_once(graph, min(MEMORY, _or_machine(limit) - _moments(graph, total)))


def samples_to_round(graph: Graph, total: int, limit: int | None = None, columns: int = COLUMNS) -> int:
    """The same for the sweep of ``constrain``. columns: positions that a layer is rounded by, about."""
    left = _or_machine(limit) - sweep_memory(graph, 0, total, kept_in_memory(limit), columns=columns)
    return samples_in_sweep(graph, min(MEMORY // 4, left))


def kept_in_memory(limit: int | None = None) -> int:
    """Bytes that the sweep holds of the float model's values, and as many of the simulation's, before it uses files."""
    return min(IN_MEMORY, _or_machine(limit) // 8)


def check_memory(graph: Graph, samples: int, total: int, limit: int | None = None) -> None:
    """Raise TooLittleMemory, with the number and the way out, where a search takes more bytes than ``limit``.

    samples: of a chunk, of ``total``. limit: by default the machine's memory.
    """
    needed = search_memory(graph, samples, total)
    widest = max(graph.layers, key=lambda node: _held(node, total) + _worked(node, total), default=None)
    _check("the search", widest, needed, _or_machine(limit))


def check_sweep_memory(
    graph: Graph, samples: int, total: int, limit: int | None = None, columns: int = COLUMNS
) -> None:
    """The same for the sweep of ``constrain``. columns: as of samples_to_round."""
    needed = sweep_memory(graph, samples, total, kept_in_memory(limit), columns=columns)
    widest = max(
        graph.layers,
        key=lambda node: _summed(node, total, columns=columns) + _rounded(node, total, 1, columns),
        default=None,
    )
    _check("rounding", widest, needed, _or_machine(limit))


def workers_to_search(graph: Graph, most: int, samples: int, total: int, limit: int | None = None) -> int:
    """How many of ``most`` workers a search has the memory for, one at least; arguments as of check_memory."""
    return _fitting(most, _or_machine(limit), partial(search_memory, graph, samples, total))


def workers_to_round(
    graph: Graph, most: int, samples: int, total: int, limit: int | None = None, columns: int = COLUMNS
) -> int:
    """The same for the sweep of ``constrain``. columns: as of samples_to_round."""
    memory = partial(sweep_memory, graph, samples, total, kept_in_memory(limit), columns=columns)
    return _fitting(most, _or_machine(limit), memory)


def search_memory(graph: Graph, samples: int, total: int, workers: int = 1) -> int:
    """Bytes, at most about, that a search holds beside the model and the data.

    The moments of all layers, and what measuring a chunk or rating as many layers as there are workers takes,
    whichever is more.
    """
    worked = sorted((_worked(node, total) for node in _layers(graph)), reverse=True)
    measured = memory_of(graph, samples) + (workers - 1) * memory_of_pass(graph, samples)
    rows = max(map(_rows_rated, _layers(graph)), default=0)  # parts of one layer too are rated side by side
    return _moments(graph, total) + max(measured, sum(worked[:workers]) + workers * rows)


def sweep_memory(
    graph: Graph, samples: int, total: int, kept: int = IN_MEMORY, workers: int = 1, columns: int = COLUMNS
) -> int:
    """Bytes, at most about, that the sweep of ``constrain`` holds beside the model and the data.

    The weights on their grids, the values that are still needed, of both models, what one op reads and writes of as
    many chunks as there are workers, and the moments of one layer with what rounding it takes. kept: bytes of values of
    a model before files are used. columns: as of samples_to_round.
    """
    weights = 4 * sum(math.prod(matrix_shape(node)) for node in _layers(graph))
    values = 4 * total * sum(math.prod(node.sample_shape) for node in graph.nodes)
    chunks = min(workers, -(-total // max(1, samples)))
    worked = chunks * memory_in_sweep(graph, samples) + _widest_layer(graph, total, chunks, columns)
    return weights + 2 * min(values, kept) + worked


def _fitting(most: int, limit: int, memory: Callable[..., int]) -> int:
    """The largest number of workers that keeps within a limit."""
    return next((count for count in range(most, 1, -1) if memory(workers=count) <= limit), 1)


def _check(what: str, widest: Node | None, needed: int, most: int) -> None:
    if needed > most and widest is not None:
        raise TooLittleMemory(
            f"{what} takes about {needed / 1e9:.3g} GB and there are {most / 1e9:.3g} GB; of the layers "
            f"{widest.weight_site!r} with its {matrix_shape(widest)[1]} inputs takes most: pass fewer samples, leave "
            "it in float (keep_float), or allow more (memory_gb)"
        )


def _or_machine(limit: int | None) -> int:
    return machine_memory() if limit is None else limit


def _layers(graph: Graph) -> list[Node]:
    """One of each weight."""
    return list({node.weight_site: node for node in graph.layers}.values())


def _moments(graph: Graph, total: int) -> int:
    """What a search holds of all layers at once."""
    return sum(_held(node, total) for node in _layers(graph))


def _widest_layer(graph: Graph, total: int, chunks: int = 1, columns: int = COLUMNS) -> int:
    """What the sweep takes for a layer, at most. chunks: summed side by side."""
    taken = (_summed(node, total, chunks, columns) + _rounded(node, total, chunks, columns) for node in _layers(graph))
    return max(taken, default=0)


def _held(node: Node, total: int) -> int:
    """Moments of what a layer reads, and of the gradients at its output."""
    groups, inputs, positions = _sizes(node, total)
    read = 4 * groups * inputs * positions if few(positions, inputs) else 8 * groups * inputs**2
    return read + 8 * len(node.biases) ** 2


def _worked(node: Node, total: int) -> int:
    """The factor of a layer's curvature, what it is made of, and what all its rows are rated with."""
    _, inputs, positions = _sizes(node, total)
    outputs, elements = matrix_shape(node)[0], math.prod(matrix_shape(node))
    rank = min(outputs, DRAWS * positions)
    thresholds = 16 * min(elements, max(TOGETHER, inputs))
    return _factor(node, total) + 4 * 3 * inputs * rank + 8 * _FISHERS * outputs**2 + thresholds


def _rows_rated(node: Node) -> int:
    """What is made of some rows of a layer in rating its candidates."""
    inputs = matrix_shape(node)[1]
    return 4 * _PARTS * max(ELEMENTS, LEAST * inputs, groups_of(node) * inputs)


def _summed(node: Node, total: int, chunks: int = 1, columns: int = COLUMNS) -> int:
    """Moments of what a layer reads in the simulation and should give, and what they are summed from."""
    groups, inputs, positions = _sizes(node, total, columns)
    outputs = len(node.biases)
    if few(positions, inputs):
        return 16 * positions * (groups * inputs + outputs)
    at_once = positions * min(CHUNK if _everywhere(node) else GRAIN, total) // max(1, total)
    products, held = 4 * groups * inputs**2 + 8 * inputs * outputs, 24 * at_once * (groups * inputs + outputs)
    return 8 * groups * inputs**2 + 8 * inputs * outputs + chunks * (products + held)


def _rounded(node: Node, total: int, workers: int, columns: int = COLUMNS) -> int:
    """The factor, what rows of the weight are worked with, and copies of all of it."""
    inputs, elements = matrix_shape(node)[1], math.prod(matrix_shape(node))
    worked = _PARTS * 8 * min(elements, workers * at_once(inputs) * inputs)
    return _factor(node, total, columns) + worked + _COPIES * elements


def _factor(node: Node, total: int, columns: int = COLUMNS) -> int:
    groups, inputs, positions = _sizes(node, total, columns)
    if few(positions, inputs):
        return groups * (32 * inputs * positions + 24 * positions**2)
    return 28 * groups * inputs**2


def _everywhere(node: Node) -> bool:
    """Whether moments are measured on all positions of a chunk at once: search.columns.thinned."""
    return node.op == "linear" or node.op.startswith("conv_transpose")


def _sizes(node: Node, total: int, columns: int = COLUMNS) -> tuple[int, int, int]:
    """Groups, inputs of each, and positions that moments are measured on, about."""
    positions = total * math.prod(node.sample_shape) // max(1, len(node.biases))
    if not _everywhere(node):
        positions = min(positions, columns)
    groups = groups_of(node)
    return groups, matrix_shape(node)[1], positions

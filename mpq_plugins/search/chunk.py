"""A chunk of calibration data: the model's arguments, tensors of a framework; and how many samples one may hold."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import Any

from mpq_plugins.errors import ModelError
from mpq_plugins.graph.node import FLOAT, Graph
from mpq_plugins.graph.runner import Runner
from mpq_plugins.rounding.moments.chunks import CHUNK

logger = logging.getLogger(__name__)

Chunk = tuple[Any, ...]
MEMORY = 2**30
"""Bytes that a measuring pass may hold of a network's values. The same on every machine: so are the results."""
_HELD = 8
"""Float32 copies of what every op writes, at the peak of the backward passes: the value, itself clamped, what the
framework keeps of both, and gradients."""

_WORKED = 3
"""Float64 copies of what an op reads and writes, at the peak of exact arithmetic: snapped, and in two orders."""


def samples_of(chunk: Chunk) -> int:
    """How many samples a chunk holds: the longest first axis of its tensors, 1 if none has one."""
    return max((length for length in map(first_axis, chunk) if length is not None), default=1)


def first_axis(x: Any) -> int | None:
    """The length of a tensor's first axis; None where it has none, and of a plain value."""
    return int(x.shape[0]) if hasattr(x, "shape") and len(x.shape) else None


def samples_at_once(graph: Graph, memory: int = MEMORY) -> int:
    """Samples of a chunk: CHUNK, or half of it so many times that a measuring pass keeps within ``memory`` bytes.

    One, if that is more already.
    """
    return _halved(memory_of(graph, 1), memory)


def memory_of(graph: Graph, samples: int) -> int:
    """Bytes that measuring so many samples at once takes."""
    return 4 * _HELD * samples * sum(math.prod(node.sample_shape) for node in graph.nodes)


def samples_in_sweep(graph: Graph, memory: int = MEMORY // 4) -> int:
    """The same for a pass that looks at one node at a time: what one op reads and writes keeps within ``memory``."""
    return _halved(memory_in_sweep(graph, 1), memory)


def memory_in_sweep(graph: Graph, samples: int) -> int:
    """Bytes that the op which reads and writes most takes in that pass, of so many samples."""
    size = {node.name: math.prod(node.sample_shape) for node in graph.nodes}
    widest = max((size[node.name] + sum(size[name] for name in node.inputs) for node in graph.nodes), default=0)
    return 8 * _WORKED * samples * widest


def memory_of_pass(graph: Graph, samples: int) -> int:
    """Bytes that another backward pass beside the first takes: gradients of what the widest op reads and writes."""
    return memory_in_sweep(graph, samples) // 2


def holds_user_code(graph: Graph, runner: Runner) -> bool:
    """Whether a graph runs code of the user's, which several threads at once may break."""
    return any(
        node.op == FLOAT and (node.attrs.get("was") is None or node.name in runner.floats) for node in graph.nodes
    )


def only_size(graph: Graph, size: int) -> int:
    """The number of samples that every chunk must have, ``size``; 0 where any will do.

    size: of the batches that the model takes, 0 where it takes any; what the graph computes itself takes any.
    """
    return size if any(node.op == FLOAT for node in graph.nodes) else 0


def check_whole(sizes: Sequence[int], size: int) -> None:
    """Raise ModelError where a chunk is no whole batch of a model that takes batches of one size only."""
    other = next((n for n in sizes if n != size), size)
    if other != size:
        raise ModelError(
            f"the model takes batches of {size} samples only, and calibration leaves one of {other}: pass a multiple "
            f"of {size} samples (drop_last=True, drop_remainder=True), or a model that takes any batch"
        )


def _halved(for_one: int, memory: int) -> int:
    samples = CHUNK
    while samples > 1 and samples * for_one > memory:
        samples //= 2
    logger.info("chunks of %d samples, of %.1f MB each, keep within %.1f MB", samples, for_one / 1e6, memory / 1e6)
    return samples

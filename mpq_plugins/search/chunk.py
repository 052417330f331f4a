"""A chunk of calibration data: the model's arguments, tensors of a framework; and how many samples one may hold."""

from __future__ import annotations

import math
from typing import Any

from mpq_plugins.calibration.chunks import CHUNK
from mpq_plugins.graph.node import Graph

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
    lengths = [int(x.shape[0]) for x in chunk if hasattr(x, "shape") and len(x.shape)]
    return max(lengths, default=1)


def samples_at_once(graph: Graph, memory: int = MEMORY) -> int:
    """Samples of a chunk: CHUNK, or half of it so many times that a measuring pass keeps within ``memory`` bytes.

    One, if that is more already.
    """
    return _halved(4 * _HELD * sum(math.prod(node.sample_shape) for node in graph.nodes), memory)


def samples_in_sweep(graph: Graph, memory: int = MEMORY // 4) -> int:
    """The same for a pass that looks at one node at a time: what one op reads and writes keeps within ``memory``."""
    size = {node.name: math.prod(node.sample_shape) for node in graph.nodes}
    widest = max((size[node.name] + sum(size[name] for name in node.inputs) for node in graph.nodes), default=0)
    return _halved(8 * _WORKED * widest, memory)


def _halved(for_one: int, memory: int) -> int:
    samples = CHUNK
    while samples > 1 and samples * for_one > memory:
        samples //= 2
    return samples

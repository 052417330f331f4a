"""A chunk of calibration data: the model's arguments, tensors of a framework."""

from __future__ import annotations

from typing import Any

Chunk = tuple[Any, ...]


def samples_of(chunk: Chunk) -> int:
    """How many samples a chunk holds: the longest first axis of its tensors, 1 if none has one."""
    lengths = [int(x.shape[0]) for x in chunk if hasattr(x, "shape") and len(x.shape)]
    return max(lengths, default=1)

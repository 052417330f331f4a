"""Whether a forward pass repeats an earlier one, and has to see what that saw and to change nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

_REPEATING: list[bool] = []


def repeats() -> bool:
    """True while backward runs, where only checkpointing computes forward again, and within ``repeating``."""
    if torch.compiler.is_compiling():
        return False
    return bool(_REPEATING) or torch._C._current_graph_task_id() != -1


@contextmanager
def repeating() -> Iterator[None]:
    """Repeat the last forward pass within this block."""
    _REPEATING.append(True)
    try:
        yield
    finally:
        _REPEATING.pop()

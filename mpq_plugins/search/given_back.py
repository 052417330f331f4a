"""Freed memory goes back to the system: an allocator keeps it, and the next stage, whose arrays have other sizes,
takes new memory beside it."""

from __future__ import annotations

import ctypes
from functools import lru_cache
from typing import Any

WORTHWHILE = 2**27
"""Bytes that work has taken before it is worth some milliseconds."""


def give_back(taken: int) -> None:
    """Between two stages of which one takes so many bytes; nothing where the C library has no such function."""
    trim = _trim() if taken > WORTHWHILE else None
    if trim is not None:
        trim(0)


@lru_cache
def _trim() -> Any:
    try:
        return getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's
    except (OSError, TypeError):
        return None

"""How many threads an operation of torch takes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def one_thread() -> Iterator[None]:
    """Inside, operations of this thread, and of threads that begin here, take one thread each.

    Many of a search's are so small that two threads spend more time in waiting for each other than in working.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)

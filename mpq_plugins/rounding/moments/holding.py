"""The calibration set as a list, unless it has no end that the machine could hold."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from os import PathLike
from typing import Any, TypeVar

from mpq_plugins.errors import CalibrationTooLarge, EmptyCalibration, ModelError, MPQError
from mpq_plugins.rounding.moments.machine import machine_memory

Batch = TypeVar("Batch")
MOST_BATCHES = 2**17
"""More than any calibration set has: small batches of a loader without an end take minutes to fill the memory."""


def batches_in(data: Any) -> Iterable[Any]:
    """What holds batches, to go through; raises ModelError for what holds none.

    >>> batches_in([1, 2])
    [1, 2]
    """
    if isinstance(data, (str, bytes, PathLike)):
        raise ModelError(f"data are arrays or batches of them, and not the path {str(data)!r}: load the file first")
    if not hasattr(data, "__iter__") and not hasattr(data, "__getitem__"):
        called = f": call it, and pass what {data.__name__}() gives" if hasattr(data, "__name__") else ""
        raise ModelError(f"data are arrays or an iterable of batches, and not a {type(data).__name__}{called}")
    found: Iterable[Any] = data
    return found


def held(batches: Iterable[Batch], bytes_of: Callable[[Batch], int], limit: int | None = None) -> list[Batch]:
    """All batches. limit: bytes; by default half of the memory that is free.

    Raises CalibrationTooLarge as soon as they are more: a loader that starts over never ends.

    >>> held(iter([1, 2]), lambda batch: 4)
    [1, 2]
    """
    most = machine_memory() // 2 if limit is None else limit
    found: list[Batch] = []
    size = 0
    for batch in batches:
        size += bytes_of(batch)
        if size > most or len(found) == MOST_BATCHES:
            so_far = f"more than {most / 1e9:.3g} GB after {len(found)}" if size > most else f"more than {len(found)}"
            raise CalibrationTooLarge(
                f"the calibration set holds {so_far} batches, or has no end; "
                "pass some hundred samples (itertools.islice(loader, 8))"
            )
        found.append(batch)
    return found


def check_some(batches: Sequence[Batch], wanted: str) -> None:
    """Raise EmptyCalibration where there is none with a sample in it. wanted: what to pass, in words."""
    if not batches:
        raise EmptyCalibration(
            f"the calibration set is empty; pass {wanted}, some hundred samples in all "
            "(a generator that was used up before is empty too: pass a list)"
        )


def memory_limit(gigabytes: float | None) -> int:
    """Bytes that work may take. gigabytes: of 10^9 bytes; None for all that is free. Raises MPQError.

    >>> memory_limit(1.5)
    1500000000
    """
    if gigabytes is None:
        return machine_memory()
    if isinstance(gigabytes, bool) or not (isinstance(gigabytes, (int, float)) and 0 < gigabytes < math.inf):
        raise MPQError(f"memory_gb is a number of gigabytes above 0, got {gigabytes!r}")
    return int(gigabytes * 10**9)

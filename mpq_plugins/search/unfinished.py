"""A measuring pass that Ctrl-C ends between two chunks, and what it leaves, from which another goes on."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from mpq_plugins.stored.arrays import load_with_values, save_with_values

FORMAT = 1


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, after what was measured had been written; the text says how much that is."""


@dataclass(frozen=True, eq=False)
class Unfinished:
    """samples: measured so far. arrays: sums, by "<quantity>/<site>". rest: plain values for JSON."""

    samples: int
    arrays: Mapping[str, NDArray[Any]]
    rest: Mapping[str, Any]

    def save(self, path: Path) -> None:
        """Write all of it or nothing; raises OSError."""
        values = {"format": FORMAT, "samples": self.samples, "rest": dict(self.rest)}
        save_with_values(path, values, self.arrays)

    @classmethod
    def load(cls, path: Path) -> Unfinished | None:
        """What a file holds; None where there is none, or it is damaged or of another version."""
        try:
            found, arrays = load_with_values(path)
            return cls(int(found["samples"]), arrays, found["rest"]) if found["format"] == FORMAT else None
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None

    def of(self, quantity: str) -> dict[str, NDArray[Any]]:
        """The arrays of a quantity by site."""
        return {name.partition("/")[2]: a for name, a in self.arrays.items() if name.partition("/")[0] == quantity}


@contextmanager
def waiting() -> Iterator[Callable[[], bool]]:
    """Ctrl-C waits while the block runs; what it gives says whether it was pressed. Pressed again it acts at once.

    In a thread of its own, and under another program's handler, nothing waits.
    """
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before is not signal.default_int_handler:
        yield lambda: False
        return
    asked = False

    def note(number: int, frame: Any) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    signal.signal(signal.SIGINT, note)
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, before)


def forget(path: Path) -> None:
    """Take away what an earlier pass left."""
    with contextlib.suppress(OSError):
        path.unlink()

"""What nodes give on every chunk of the calibration set: in memory up to a limit, the rest in temporary files."""

from __future__ import annotations

import math
import tempfile
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO, Any

import numpy as np

from mpq_plugins.errors import TooLittleMemory
from mpq_plugins.graph.runner import Runner

IN_MEMORY = 2**27
"""Bytes of values that are held in memory."""


@dataclass(frozen=True)
class _Written:
    """Where an array lies in a file."""

    start: int
    shape: tuple[int, ...]
    dtype: np.dtype[Any]


class Kept:
    """The values of nodes by name, chunk by chunk, tensors of the runner's framework.

    What does not fit into ``limit`` bytes is written to a file of the node's own, without a name, in the folder of
    temporary files (TMPDIR); it comes back bit for bit. What is no tensor stays in memory.
    """

    def __init__(self, runner: Runner, limit: int = IN_MEMORY) -> None:
        self._runner, self._free = runner, limit
        self._values: dict[str, list[Any]] = {}
        self._files: dict[str, IO[bytes]] = {}
        self._taken: dict[str, int] = {}
        self._reading = threading.Lock()

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def add(self, name: str, values: Iterable[Any]) -> None:
        """Keep the values of a node, one for each chunk; an iterator is asked for one at a time.

        Raises TooLittleMemory where neither memory nor the folder of temporary files has room.
        """
        kept = self._values[name] = []
        self._taken[name] = 0
        for value in values:
            size = _bytes_of(value)
            if size <= self._free:
                self._free -= size
                self._taken[name] += size
                kept.append(value)
            else:
                kept.append(self._written(name, value))

    def share(self, name: str, values: Sequence[Any]) -> None:
        """Keep values that are in memory anyway, and count for nothing."""
        self._values[name], self._taken[name] = list(values), 0

    def of(self, name: str, index: int) -> Any:
        """The value of a node on a chunk."""
        value = self._values[name][index]
        return self._read(name, value) if isinstance(value, _Written) else value

    def every(self, name: str) -> Iterator[Any]:
        """The values of a node, chunk after chunk."""
        return (self.of(name, index) for index in range(len(self._values[name])))

    def elements(self, name: str) -> int:
        """Elements of a node's tensors, over all chunks."""
        return sum(math.prod(value.shape) for value in self._values[name])

    def drop(self, name: str) -> None:
        """Forget a node."""
        del self._values[name]
        self._free += self._taken.pop(name)
        if name in self._files:
            self._files.pop(name).close()

    def _written(self, name: str, value: Any) -> _Written:
        array = np.ascontiguousarray(self._runner.numpy(value))
        try:
            if name not in self._files:
                self._files[name] = tempfile.TemporaryFile()  # noqa: SIM115  (it lives as long as the node)
            file = self._files[name]
            start = file.seek(0, 2)
            array.tofile(file)
        except OSError as error:
            raise TooLittleMemory(
                f"the values of {name!r} fit neither into memory nor into {tempfile.gettempdir()} ({error}); set "
                "TMPDIR to a folder with more room, or pass fewer samples"
            ) from error
        return _Written(start, array.shape, array.dtype)

    def _read(self, name: str, where: _Written) -> Any:
        file = self._files[name]
        with self._reading:  # several threads may, and a file has one place at which it is read
            file.seek(where.start)
            values = np.fromfile(file, where.dtype, math.prod(where.shape))
        return self._runner.tensor(values.reshape(where.shape))


def _bytes_of(value: Any) -> int:
    """Of a tensor; 0 of anything else."""
    if not (hasattr(value, "shape") and hasattr(value, "dtype")):
        return 0
    width = getattr(value.dtype, "itemsize", None) or value.dtype.size
    return math.prod(int(length) for length in value.shape) * int(width)

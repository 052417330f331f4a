"""What a look at the calibration set found, kept for the next one at the same set through the same model."""

from __future__ import annotations

import hashlib
import pickle
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from mpq_plugins.graph.node import Graph
from mpq_plugins.graph.runner import Runner
from mpq_plugins.search.chunk import Chunk, holds_user_code, samples_of

KEPT = 8
"""Looks that are remembered, the last ones; what is kept of one is a few numbers."""

_KNOWN: OrderedDict[bytes, dict[int, tuple[float, str]]] = OrderedDict()
_lock = threading.Lock()


def looked_once(
    graph: Graph, runner: Runner, chunks: Sequence[Chunk], look: Callable[[], dict[int, tuple[float, str]]]
) -> dict[int, tuple[float, str]]:
    """What ``look`` gives: by the number of a sample how far it is from usual, and where.

    It is asked again wherever a weight, an attribute of the graph or an element of the data is another one, and always
    where the graph runs code of the user's.
    """
    key = _digest(graph, runner, chunks)
    with _lock:
        if key is not None and key in _KNOWN:
            _KNOWN.move_to_end(key)
            return dict(_KNOWN[key])
    found = look()
    if key is not None:
        with _lock:
            _KNOWN[key] = dict(found)
            while len(_KNOWN) > KEPT:
                _KNOWN.popitem(last=False)
    return found


def _digest(graph: Graph, runner: Runner, chunks: Sequence[Chunk]) -> bytes | None:
    """Of all that the graph and the data hold, however the data are cut into chunks; None where that cannot be told."""
    if holds_user_code(graph, runner):
        return None
    digest, buffers = hashlib.sha256(), list[pickle.PickleBuffer]()
    by = type(runner).__module__, type(runner).__qualname__, id(type(runner))
    try:
        digest.update(pickle.dumps((graph.nodes, graph.outputs, by), 5, buffer_callback=buffers.append))
        for buffer in buffers:
            digest.update(buffer.raw())
    except (pickle.PicklingError, TypeError, AttributeError, BufferError):
        return None
    count = len(chunks[0]) if chunks else 0
    columns, kinds = [hashlib.sha256() for _ in range(count)], [""] * count
    first = 0
    for chunk in chunks:
        for index, given in enumerate(chunk):
            kind, held = _held(given, samples_of(chunk), runner)
            if kind != kinds[index]:  # said where it changes: chunks of another size say the same
                columns[index].update(f"{first}: {kind}".encode())
            columns[index].update(held)
            kinds[index] = kind
        first += samples_of(chunk)
    for column in columns:
        digest.update(column.digest())
    return digest.digest()


def _held(given: Any, samples: int, runner: Runner) -> tuple[str, Any]:
    """What kind of argument a chunk has, and its bytes; of samples, what each of them is."""
    if not (hasattr(given, "shape") and hasattr(given, "dtype")):
        return repr((type(given), given)), b""
    array = np.ascontiguousarray(runner.numpy(given))
    whole = len(given.shape) == 0 or len(array) != samples
    kind = repr((str(array.dtype), whole, array.shape if whole else array.shape[1:]))
    return kind, array.data.cast("B") if array.size else b""

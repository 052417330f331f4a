"""A standard stream without what compiled libraries write past Python: TensorFlow's notices, HiGHS's stray lines."""

from __future__ import annotations

import ctypes
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Literal

STREAMS = {"stdout": 1, "stderr": 2}
_TURN = threading.RLock()


@contextmanager
def silenced(name: Literal["stdout", "stderr"]) -> Iterator[None]:
    """Hold back what is written to a standard stream; it is shown after all when the block raises.

    The stream belongs to the whole process: what other threads write meanwhile is held back too, and one that wants
    silence waits for another's to end, since each puts back what it found.
    """
    with _TURN:
        yield from _silenced(name)


def _silenced(name: Literal["stdout", "stderr"]) -> Iterator[None]:
    stream, descriptor = getattr(sys, name), STREAMS[name]
    try:
        saved = os.dup(descriptor)
    except OSError:  # there is no such stream
        yield
        return
    _flush(stream)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), descriptor)
        try:
            yield
        except BaseException:
            _flush(stream)
            os.dup2(saved, descriptor)
            held.seek(0)
            os.write(descriptor, held.read())
            raise
        finally:
            _flush(stream)
            os.dup2(saved, descriptor)
            os.close(saved)


@contextmanager
def on_stderr() -> Iterator[None]:
    """What is written to standard output, by Python or by compiled code, goes to standard error."""
    with _TURN, redirect_stdout(sys.stderr):
        try:
            saved = os.dup(1)
        except OSError:  # there is no such stream
            yield
            return
        _flush(sys.__stdout__)
        os.dup2(2, 1)
        try:
            yield
        finally:
            _flush(sys.__stdout__)
            os.dup2(saved, 1)
            os.close(saved)


def _flush(stream: object) -> None:
    """Empty Python's buffer of the stream and, where there is one to be found, C's buffers."""
    if stream is not None:
        stream.flush()  # type: ignore[attr-defined]
    try:
        ctypes.CDLL(None).fflush(None)
    except (OSError, TypeError, AttributeError):  # no C library under that name, as on Windows
        return

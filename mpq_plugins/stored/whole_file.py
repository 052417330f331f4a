"""Reading a file, and writing all of it or nothing: neither a reader nor a crash ever sees half of one."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from mpq_plugins.errors import MPQError, OutputError


def read(path: str | os.PathLike[str], name: str, error: type[MPQError]) -> bytes:
    """The bytes of a file. name: of such files, for the error, which is raised where it cannot be read."""
    try:
        return Path(path).read_bytes()
    except (OSError, TypeError, ValueError) as failure:
        raise error(f"cannot read the {name} {path}: {_reason(failure)}") from failure


def write(
    path: str | os.PathLike[str],
    content: bytes | str,
    name: str = "",
    error: type[MPQError] = OutputError,
    *,
    make_folder: bool = False,
) -> Path:
    """Write a file, text as UTF-8; returns its path.

    name: of such files, for the error, which is raised where it cannot be written. make_folder: where it lies.
    """
    try:
        final = Path(path)
        if make_folder:
            final.parent.mkdir(parents=True, exist_ok=True)
        with replacing(final) as file:
            file.write(content.encode() if isinstance(content, str) else content)
    except (OSError, TypeError, ValueError) as failure:
        what = f"the {name} {path}" if name else str(path)
        raise error(f"cannot write {what}: {_reason(failure)}") from failure
    return final


def _reason(failure: Exception) -> str:
    """What the system says, or Python of what is no path."""
    return str(getattr(failure, "strerror", None) or failure)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write to, which takes its place under ``path`` when all is written. Raises OSError."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.part")
    try:
        with open(draft, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    finally:
        with contextlib.suppress(OSError):
            draft.unlink()

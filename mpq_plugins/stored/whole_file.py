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
    except OSError as failure:
        raise error(f"cannot read the {name} {path}: {failure.strerror}") from failure


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
    final = Path(path)
    try:
        if make_folder:
            final.parent.mkdir(parents=True, exist_ok=True)
        with replacing(final) as file:
            file.write(content.encode() if isinstance(content, str) else content)
    except OSError as failure:
        what = f"the {name} {final}" if name else str(final)
        raise error(f"cannot write {what}: {failure.strerror}") from failure
    return final


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

"""How much memory a process may still take: of the machine, and of the control groups that it lives in."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

_UNKNOWN = 2**34
"""Bytes where nothing tells."""
_FILES = {
    2: ("memory.max", "memory.current", "inactive_file"),
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
}
"""By version of control groups: the limit, what is taken, and what of that the kernel gives back when asked."""


def machine_memory(root: Path = Path("/")) -> int:
    """Bytes that are free: the least of the machine's available memory and what control groups leave; 16 GB unknown.

    root: of the file system that tells.
    """
    found = [n for n in (_physical(), _available(root), *_left_in_groups(root)) if n is not None]
    return max(0, min(found, default=_UNKNOWN))


def _physical() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None


def _available(root: Path) -> int | None:
    kilobytes = _listed(root / "proc/meminfo").get("MemAvailable:")
    return None if kilobytes is None else 1024 * kilobytes


def _left_in_groups(root: Path) -> Iterator[int]:
    """What each limit of the process's groups, and of the groups around them, leaves."""
    for version, folder in _groups(root):
        limit_file, taken_file, kept_name = _FILES[version]
        limit, taken = _number(folder / limit_file), _number(folder / taken_file)
        if limit is not None:
            given_back = _listed(folder / "memory.stat").get(kept_name, 0)
            yield limit - max(0, (taken or 0) - given_back)


def _groups(root: Path) -> Iterator[tuple[int, Path]]:
    """Version and folder of each group; a container often shows its own as the topmost."""
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        kinds, _, path = rest.partition(":")
        if kinds and "memory" not in kinds.split(","):
            continue
        version, top = (1, root / "sys/fs/cgroup/memory") if kinds else (2, root / "sys/fs/cgroup")
        own = top / path.strip("/")
        yield from ((version, folder) for folder in (own, *own.parents) if folder.is_relative_to(top))


def _listed(file: Path) -> dict[str, int]:
    """Lines of a name and a number, and perhaps more."""
    rows = (line.split() for line in _text(file).splitlines())
    return {row[0]: int(row[1]) for row in rows if len(row) > 1 and row[1].isdecimal()}


def _number(file: Path) -> int | None:
    """None where there is no file, or no limit in it."""
    text = _text(file).strip()
    return int(text) if text.isdecimal() else None


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except (OSError, UnicodeDecodeError):
        return ""

"""A progress bar on the terminal, and nothing where there is none."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import TypeVar

Item = TypeVar("Item")


def track(items: Sequence[Item], description: str, show: bool | None = None) -> Iterator[Item]:
    """Yield the items, with a bar on standard error meanwhile.

    show: whether to draw the bar; None draws it if standard error is a terminal.

    >>> list(track([1, 2], "counting", show=False))
    [1, 2]
    """
    if not (sys.stderr.isatty() if show is None else show):
        yield from items
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        yield from progress.track(items, description=description)

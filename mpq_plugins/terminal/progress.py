"""Progress bars on the terminal: one for every stage that takes longer than a second, and nothing where there is none.

Stages may lie in one another (rounding within an export): each is a line of one display, and where the outermost is
not shown none is.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from rich.progress import Progress

Item = TypeVar("Item")
Advance = Callable[[float], None]

DELAY = 1.0
"""Seconds that a stage takes before its line appears."""

_WHOLE_STAGE = 1e9
"""Seconds over which the speed is averaged, of which the estimate of the rest is made: steps may take minutes."""


def track(
    items: Sequence[Item], description: str, show: bool | None = None, weights: Sequence[float] | None = None
) -> Iterator[Item]:
    """Yield the items, with a bar on standard error meanwhile, and an estimate of the time that is left.

    show: whether to draw the bar; None draws it if standard error is a terminal. weights: what each item costs beside
    the others; by default all the same.

    >>> list(track([1, 2], "counting", show=False))
    [1, 2]
    """
    costs = [1.0] * len(items) if weights is None else list(weights)
    with stage(description, show, sum(costs)) as advance:
        for item, cost in zip(items, costs, strict=True):
            yield item
            advance(cost)


@contextmanager
def stage(description: str, show: bool | None = None, total: float | None = None) -> Iterator[Advance]:
    """A line on standard error while the block runs; what it gives is called with what more has been done of ``total``.

    total: None where nobody knows; the line then tells the time that has passed alone. show: as of ``track``.

    >>> with stage("reading", show=False) as advance:
    ...     advance(1)
    """
    outermost = not _here.open
    if outermost:
        _here.display = _new_display() if (sys.stderr.isatty() if show is None else show) else None
    display = None if show is False else _here.display
    _here.open += 1
    try:
        if display is None:
            yield _nothing
        else:
            with _line(display, description, total) as advance:
                yield advance
    finally:
        _here.open -= 1
        if outermost:
            if _here.display is not None and _here.display.live.is_started:
                _here.display.stop()
            _here.display = None


class _Here(threading.local):
    """The stages that a thread is in: how many, and what they are shown on."""

    open: int = 0
    display: Progress | None = None


_here = _Here()


@contextmanager
def _line(display: Progress, description: str, total: float | None) -> Iterator[Advance]:
    task = display.add_task(description, total=total, visible=False)

    def appear() -> None:
        display.update(task, visible=True)
        display.start()

    timer = threading.Timer(DELAY, appear)
    timer.daemon = True
    timer.start()
    try:
        yield lambda amount: display.advance(task, amount)
    finally:
        timer.cancel()
        timer.join()
        if display.live.transient:  # elsewhere the lines are printed in the end, and once
            display.remove_task(task)


def _new_display() -> Progress:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=console.is_terminal,
        speed_estimate_period=_WHOLE_STAGE,
    )


def _nothing(amount: float) -> None:
    """What a stage that is not shown does with its progress."""

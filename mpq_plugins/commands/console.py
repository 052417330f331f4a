"""What a command says: prose for a person, JSON for a script, nothing when it is told to be quiet."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from mpq_plugins.terminal.progress import Advance, stage

INTERRUPTED = 130


@dataclass(frozen=True)
class Voice:
    """quiet: no prose, no progress bars. as_json: one JSON value on standard output instead of prose."""

    quiet: bool = False
    as_json: bool = False

    @property
    def progress(self) -> bool | None:
        """Whether to draw progress bars: never when quiet, else where standard error is a terminal."""
        return False if self.quiet else None

    def say(self, text: str) -> None:
        """Print prose on standard output."""
        if not (self.quiet or self.as_json):
            print(text)

    def note(self, text: str) -> None:
        """Print prose on standard error, for a person who watches."""
        if not self.quiet and sys.stderr.isatty():
            print(text, file=sys.stderr)

    def working(self, what: str) -> AbstractContextManager[Advance]:
        """A sign of life on standard error meanwhile, if that is a terminal."""
        return stage(what, self.progress)

    def result(self, value: Any) -> None:
        """Print the result for a script."""
        if self.as_json:
            print(json.dumps(value, indent=2))


@contextmanager
def resumable(voice: Voice) -> Iterator[None]:
    """Let Ctrl-C end the command with exit code 130 and a word on what is kept."""
    try:
        yield
    except KeyboardInterrupt as interrupt:
        if not voice.quiet:
            kept = str(interrupt) or "what was measured is kept"
            print(f"mpq: interrupted; {kept}, the same command goes on from there", file=sys.stderr)
        raise typer.Exit(INTERRUPTED) from None


def kept_measurements() -> Path | None:
    """Where measurements of models are kept between runs; None where nothing can be written."""
    from mpq_plugins.latency.cache_directory import cache_directory

    try:
        return cache_directory("models")
    except OSError:
        return None

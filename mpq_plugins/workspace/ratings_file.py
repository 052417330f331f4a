"""The file that keeps ratings between runs."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mpq_plugins.grid import Grid
from mpq_plugins.hardware.op_support import Candidate
from mpq_plugins.sensitivity.ratings import Rated, Ratings


class RatingsFile:
    """Ratings on disk, a line for each site, so that what was rated before an interruption is kept.

    path: None keeps nothing. A line counts as long as the site has the same candidates.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path

    def read(self, candidates: Mapping[str, Sequence[Candidate]]) -> dict[str, dict[int, Rated]]:
        """The ratings of those sites that have been rated for just these candidates."""
        found: dict[str, dict[int, Rated]] = {}
        if self.path is None or not self.path.exists():
            return found
        for line in self.path.read_text(errors="replace").splitlines():
            with contextlib.suppress(ValueError, KeyError, TypeError, RecursionError):  # a line that was cut off
                data = json.loads(line)
                site = data["site"]
                if site in candidates and data["candidates"] == _described(candidates[site]):
                    found[site] = {int(bits): (_grid(entry["grid"]), entry["loss"]) for bits, entry in data["rated"]}
        return found

    def add(self, ratings: Ratings, candidates: Mapping[str, Sequence[Candidate]]) -> None:
        """Append the ratings of some sites."""
        if self.path is None:
            return
        lines = []
        for site, by_bits in ratings.items():
            rated = [[bits, {"grid": asdict(grid), "loss": loss}] for bits, (grid, loss) in by_bits.items()]
            entry = {"site": site, "candidates": _described(candidates[site]), "rated": rated}
            lines.append("\n" + json.dumps(entry))  # in front, so that a line that was cut off spoils no other
        with contextlib.suppress(OSError), open(self.path, "a") as file:  # a full disk costs time, not the search
            file.write("".join(lines))


def _described(candidates: Sequence[Candidate]) -> list[dict[str, Any]]:
    return [asdict(candidate) for candidate in candidates]


def _grid(data: Mapping[str, Any]) -> Grid:
    return Grid(**{**data, "steps": tuple(data["steps"])})

"""The file that keeps ratings between runs."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from pydantic import ConfigDict, ValidationError

from mpq_plugins.grid import Grid
from mpq_plugins.hardware.op_support import Candidate
from mpq_plugins.sensitivity.ratings import Rated, Ratings
from mpq_plugins.stored.schema import Schema


class _Line(Schema):
    """What is known of one site: the candidates that were rated, and by bits the grid and the predicted loss."""

    model_config = ConfigDict(ser_json_inf_nan="constants")

    site: str
    candidates: tuple[Candidate, ...]
    rated: dict[int, tuple[Grid, float]]


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
        for text in self.path.read_text(errors="replace").splitlines():
            with contextlib.suppress(ValidationError):  # a line that was cut off
                line = _Line.model_validate_json(text)
                if line.site in candidates and line.candidates == tuple(candidates[line.site]):
                    found[line.site] = line.rated
        return found

    def add(self, ratings: Ratings, candidates: Mapping[str, Sequence[Candidate]]) -> None:
        """Append the ratings of some sites."""
        if self.path is None:
            return
        lines = [
            _Line(site=site, candidates=tuple(candidates[site]), rated=dict(by_bits))
            for site, by_bits in ratings.items()
        ]
        # a line break in front, so that a line that was cut off spoils no other
        text = "".join("\n" + line.model_dump_json() for line in lines)
        with contextlib.suppress(OSError), open(self.path, "a") as file:  # a full disk costs time, not the search
            file.write(text)

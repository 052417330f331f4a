"""Details: what a report shows of a recipe that the recipe itself does not hold."""

from __future__ import annotations

import os
from typing import ClassVar, Literal

from pydantic import Field, FiniteFloat

from mpq_plugins.errors import MPQError, RecipeError
from mpq_plugins.inventory import Inventory
from mpq_plugins.stored import whole_file
from mpq_plugins.stored.heading import Heading
from mpq_plugins.stored.schema import Schema

HEADING = Heading("mpq-details", 1, "details file", RecipeError)


class ErrorCurve(Schema):
    """Mean squared error of a site over thresholds.

    offsets: exponents of thresholds less that of the chosen grid (of each channel, where it has several).
    errors: by bits, one for each offset.
    """

    error: ClassVar[type[MPQError]] = RecipeError
    offsets: list[int]
    errors: dict[int, list[FiniteFloat]]


class Verified(Schema):
    """What comparing the converted model with its simulation gave; exact None where it was not compared."""

    error: ClassVar[type[MPQError]] = RecipeError
    exact: bool | None
    text: str
    samples: int = 0


class Details(Schema):
    """By site unless said otherwise; a part that could not be had is empty.

    sites: names with the bits of the recipe that the details were made for. inventory: of the model.
    losses: predicted rise of the loss by bits, as the method rated_by predicts it.
    signal_to_noise: decibels of every activation of the simulated model against the float model.
    costs: resource -> site -> what the site takes of it. curves: error over thresholds.
    samples: of the calibration data.
    """

    error: ClassVar[type[MPQError]] = RecipeError
    format: Literal["mpq-details"] = "mpq-details"
    schema_version: Literal[1] = 1
    sites: dict[str, int]
    samples: int = 0
    inventory: Inventory | None = None
    rated_by: str = ""
    losses: dict[str, dict[int, FiniteFloat]] = Field(default_factory=dict)
    curves: dict[str, ErrorCurve] = Field(default_factory=dict)
    signal_to_noise: dict[str, FiniteFloat] = Field(default_factory=dict)
    costs: dict[str, dict[str, FiniteFloat]] = Field(default_factory=dict)
    units: dict[str, str] = Field(default_factory=dict)
    verified: Verified | None = None

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write JSON. Raises OutputError."""
        whole_file.write(path, self.to_json())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Details:
        """Read what ``save`` wrote. Raises RecipeError."""
        return HEADING.load(cls, path)

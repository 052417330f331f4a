"""The JSON of a recipe: its schema, and the grids of its sites."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, FiniteFloat

from mpq_plugins.errors import GridError, MPQError, RecipeError
from mpq_plugins.grid import Grid
from mpq_plugins.schema import Schema
from mpq_plugins.site_grid import SiteGrid
from mpq_plugins.stored import json_text
from mpq_plugins.stored.heading import Heading

HEADING = Heading("mpq-recipe", 1, "recipe", RecipeError)

Exponent = Annotated[int, Field(ge=-960, le=960)]


class GridFields(Schema):
    """A grid: ``exponents`` of its thresholds where they are powers of two, else its ``steps``."""

    error: ClassVar[type[MPQError]] = RecipeError
    bits: int
    signed: bool = True
    narrow: bool = False
    axis: int | None = None
    exponents: tuple[Exponent, ...] | None = None
    steps: tuple[FiniteFloat, ...] | None = None


class SiteFields(Schema):
    """A site with its grid."""

    error: ClassVar[type[MPQError]] = RecipeError
    kind: Literal["weight", "activation"]
    op: str
    shape: tuple[Annotated[int, Field(ge=0)], ...]
    group: str | None = None
    grid: GridFields
    reason: str = ""


class RecipeFields(Schema):
    """The whole file."""

    error: ClassVar[type[MPQError]] = RecipeError
    format: Literal["mpq-recipe"]
    schema_version: Literal[1]
    target: str
    method: str
    budget: dict[str, FiniteFloat] = Field(default_factory=dict)
    costs: dict[str, FiniteFloat] = Field(default_factory=dict)
    shadow_prices: dict[str, FiniteFloat] = Field(default_factory=dict)
    meta: dict[str, str] = Field(default_factory=dict)
    float_weights: dict[str, Annotated[int, Field(ge=0)]] = Field(default_factory=dict)
    sites: dict[str, SiteFields]


def dumps(entries: Iterable[SiteGrid], fields: dict[str, Any]) -> str:
    """The file's text; ``fields`` are all of RecipeFields but format, schema_version and sites."""
    sites = {entry.site: _site(entry) for entry in entries}
    return json_text.dumps({**HEADING.fields, **fields, "sites": sites})


def loads(text: str | bytes, origin: str) -> tuple[tuple[SiteGrid, ...], dict[str, Any]]:
    """What ``dumps`` was given. Raises RecipeError, naming ``origin`` and the field, for anything else."""
    fields = HEADING.model(RecipeFields, text, origin)
    try:
        entries = tuple(_site_grid(name, site) for name, site in fields.sites.items())
    except RecipeError as error:
        raise HEADING.damaged(error, origin) from None
    return entries, fields.model_dump(exclude={"format", "schema_version", "sites"})


def _site(entry: SiteGrid) -> dict[str, Any]:
    grid = entry.grid
    steps = {"exponents": list(grid.exponents)} if grid.is_power_of_two else {"steps": list(grid.steps)}
    shown: dict[str, Any] = {"bits": grid.bits, "signed": grid.signed}
    shown |= {"narrow": True} if grid.narrow else {}
    shown |= {} if grid.axis is None else {"axis": grid.axis}
    fields: dict[str, Any] = {"kind": entry.kind, "op": entry.op, "shape": list(entry.shape)}
    fields |= {} if entry.group is None else {"group": entry.group}
    return {**fields, "grid": shown | steps, "reason": entry.reason}


def _site_grid(name: str, site: SiteFields) -> SiteGrid:
    given = site.grid
    where = f"sites.{name}.grid"
    if (given.exponents is None) == (given.steps is None):
        raise RecipeError(f"{where}: give exponents or steps, one of the two")
    try:
        if given.exponents is not None:
            grid = Grid.power_of_two(given.bits, given.exponents, given.signed, given.narrow, given.axis)
        else:
            grid = Grid(given.bits, given.steps or (), given.signed, given.narrow, given.axis)
    except GridError as error:
        raise RecipeError(f"{where}: {error}") from None
    return SiteGrid(name, site.kind, site.op, site.shape, grid, site.group, site.reason)

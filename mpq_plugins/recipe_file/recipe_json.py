"""The JSON of a recipe: its schema, what a damaged file gets, and writing without ever leaving half a file."""

from __future__ import annotations

import contextlib
import json
import os
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, FiniteFloat, ValidationError

from mpq_plugins.errors import GridError, MPQError, RecipeError
from mpq_plugins.grid import Grid
from mpq_plugins.recipe_file import json_text
from mpq_plugins.schema import Schema, problems
from mpq_plugins.site_grid import SiteGrid

FORMAT = "mpq-recipe"
SCHEMA_VERSION = 1

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
    sites: dict[str, SiteFields]


def dumps(entries: Iterable[SiteGrid], fields: dict[str, Any]) -> str:
    """The file's text; ``fields`` are all of RecipeFields but format, schema_version and sites."""
    sites = {entry.site: _site(entry) for entry in entries}
    return json_text.dumps({"format": FORMAT, "schema_version": SCHEMA_VERSION, **fields, "sites": sites})


def loads(text: str | bytes, origin: str) -> tuple[tuple[SiteGrid, ...], dict[str, Any]]:
    """What ``dumps`` was given. Raises RecipeError, naming ``origin`` and the field, for anything else."""
    try:
        data = json.loads(text, object_pairs_hook=_without_repeats)
    except ValueError as error:
        raise RecipeError(f"{origin} is damaged: {error}") from None
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise RecipeError(f'{origin} is no recipe: it should be a JSON object with "format": "{FORMAT}"')
    version = data.get("schema_version")
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise RecipeError(
            f"{origin} has recipe schema {version}, and this version of mpq-plugins reads {SCHEMA_VERSION}; "
            "upgrade mpq-plugins"
        )
    try:
        fields = RecipeFields.model_validate_json(text)
        entries = tuple(_site_grid(name, site) for name, site in fields.sites.items())
    except ValidationError as error:
        raise RecipeError(f"{origin} is damaged: {problems(error)}") from None
    except RecipeError as error:
        raise RecipeError(f"{origin} is damaged: {error}") from None
    return entries, fields.model_dump(exclude={"format", "schema_version", "sites"})


def write(path: str | os.PathLike[str], text: str) -> None:
    """Write the whole text or nothing: a reader, or a crash, never sees half of it. Raises RecipeError."""
    final = Path(path)
    draft = final.with_name(f".{final.name}.{os.getpid()}.{threading.get_ident()}.part")
    data = text.encode()
    try:
        with open(draft, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, final)
    except OSError as error:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise RecipeError(f"cannot write the recipe {final}: {error.strerror}") from error


def read(path: str | os.PathLike[str]) -> bytes:
    """The bytes of a recipe file. Raises RecipeError when it cannot be read."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise RecipeError(f"cannot read the recipe {path}: {error.strerror}") from error


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


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"the key {name!r} occurs twice")
        found[name] = value
    return found

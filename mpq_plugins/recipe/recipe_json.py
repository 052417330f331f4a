"""The JSON of a recipe: its schema, and the grids of its sites."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, FiniteFloat

from mpq_plugins.errors import MPQError, RecipeError
from mpq_plugins.hardware.target import Target
from mpq_plugins.inventory import PLAIN, ModelInput, Plain
from mpq_plugins.recipe.float_part import FloatPart
from mpq_plugins.recipe.site_grid import SiteGrid
from mpq_plugins.stored import json_text
from mpq_plugins.stored.heading import Heading
from mpq_plugins.stored.schema import Schema

HEADING = Heading("mpq-recipe", 2, "recipe", RecipeError, oldest=1)

Exponent = Annotated[int, Field(ge=-960, le=960)]
Elements = Annotated[int, Field(ge=0)]


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
    shape: tuple[Elements, ...]
    group: str | None = None
    grid: GridFields
    reason: str = ""


class InputFields(Schema):
    """A tensor that the model takes, or a plain value; null stands for an open size."""

    error: ClassVar[type[MPQError]] = RecipeError
    shape: tuple[Elements | None, ...] = ()
    dtype: str = "float32"
    path: tuple[str | int, ...] = ()
    value: Plain = None


class FloatFields(Schema):
    """An op that stays float."""

    error: ClassVar[type[MPQError]] = RecipeError
    reason: str = ""
    macs: Elements = 0
    weights: Elements = 0


class WrittenRecipe(Schema):
    """What files of all schemas have."""

    error: ClassVar[type[MPQError]] = RecipeError
    format: Literal["mpq-recipe"]
    schema_version: int
    target: str
    method: str
    budget: dict[str, FiniteFloat] = Field(default_factory=dict)
    costs: dict[str, FiniteFloat] = Field(default_factory=dict)
    shadow_prices: dict[str, FiniteFloat] = Field(default_factory=dict)
    meta: dict[str, str] = Field(default_factory=dict)
    sites: dict[str, SiteFields]

    def values(self) -> dict[str, Any]:
        """What a Recipe is made of, but for its sites."""
        raise NotImplementedError


class RecipeFields(WrittenRecipe):
    """The whole file."""

    schema_version: Literal[2]
    predicted: dict[str, FiniteFloat] = Field(default_factory=dict)
    measured: dict[str, FiniteFloat] = Field(default_factory=dict)
    macs: Elements = 0
    floats: dict[str, FloatFields] = Field(default_factory=dict)
    inputs: dict[str, InputFields] = Field(default_factory=dict)
    hardware: Target | None = None

    def values(self) -> dict[str, Any]:
        """What a Recipe is made of, but for its sites."""
        plain = ("target", "method", "budget", "costs", "shadow_prices", "predicted", "measured", "macs", "meta")
        return {
            **{name: getattr(self, name) for name in (*plain, "hardware")},
            "floats": tuple(FloatPart(name, p.reason, p.macs, p.weights) for name, p in self.floats.items()),
            "inputs": tuple(
                ModelInput(name, given.shape, given.dtype, given.path, given.value)
                for name, given in self.inputs.items()
            ),
        }


def dumps(entries: Iterable[SiteGrid], values: Mapping[str, Any]) -> str:
    """The file's text. values: of the recipe's fields but for its sites; what is empty and optional is left out."""
    written = dict(values)
    written["floats"] = {p.name: {"reason": p.reason, "macs": p.macs, "weights": p.weights} for p in values["floats"]}
    written["inputs"] = {taken.name: _input(taken) for taken in values["inputs"]}
    hardware: Target | None = written.pop("hardware")
    for name in ("predicted", "measured", "macs", "floats", "inputs"):
        if not written[name]:
            del written[name]
    if hardware is not None:
        written["hardware"] = hardware.model_dump(mode="json", exclude_none=True)
    return json_text.dumps({**HEADING.fields, **written, "sites": {entry.site: _site(entry) for entry in entries}})


def _input(taken: ModelInput) -> dict[str, Any]:
    if taken.dtype == PLAIN:
        found: dict[str, Any] = {"dtype": PLAIN, "value": taken.value}
    else:
        found = {"shape": list(taken.shape), "dtype": taken.dtype}
    return {**found, "path": list(taken.path)} if taken.path else found


def _site(entry: SiteGrid) -> dict[str, Any]:
    grid = entry.grid
    steps = {"exponents": list(grid.exponents)} if grid.is_power_of_two else {"steps": list(grid.steps)}
    shown: dict[str, Any] = {"bits": grid.bits, "signed": grid.signed}
    shown |= {"narrow": True} if grid.narrow else {}
    shown |= {} if grid.axis is None else {"axis": grid.axis}
    fields: dict[str, Any] = {"kind": entry.kind, "op": entry.op, "shape": list(entry.shape)}
    fields |= {} if entry.group is None else {"group": entry.group}
    return {**fields, "grid": shown | steps, "reason": entry.reason}

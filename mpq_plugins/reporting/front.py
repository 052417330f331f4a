"""Front: the points of a Pareto sweep, as ``mpq pareto`` writes them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from pydantic import Field, FiniteFloat

from mpq_plugins.errors import MPQError, RecipeError
from mpq_plugins.recipe.recipe import Recipe
from mpq_plugins.stored import whole_file
from mpq_plugins.stored.heading import Heading
from mpq_plugins.stored.schema import Schema

HEADING = Heading("mpq-pareto", 1, "Pareto front", RecipeError)


class Point(Schema):
    """recipe: file name beside the front. cost: of the swept resource. loss: predicted."""

    error: ClassVar[type[MPQError]] = RecipeError
    recipe: str
    cost: FiniteFloat
    loss: FiniteFloat
    average_weight_bits: FiniteFloat
    weight_bytes: FiniteFloat


class Front(Schema):
    """Points by ascending cost and descending loss."""

    error: ClassVar[type[MPQError]] = RecipeError
    format: Literal["mpq-pareto"] = "mpq-pareto"
    schema_version: Literal[1] = 1
    resource: str
    target: str
    method: str
    points: list[Point] = Field(min_length=1)

    @classmethod
    def of(cls, resource: str, found: Sequence[tuple[Recipe, float]], names: Sequence[str]) -> Front:
        """The front of recipes with their predicted losses; names: of the recipes' files."""
        points = [
            Point(
                recipe=name,
                cost=float(recipe.costs[resource]),
                loss=float(loss),
                average_weight_bits=float(recipe.average_weight_bits),
                weight_bytes=float(recipe.weight_bytes),
            )
            for (recipe, loss), name in zip(found, names, strict=True)
        ]
        return cls(resource=resource, target=found[0][0].target, method=found[0][0].method, points=points)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write JSON. Raises OutputError."""
        whole_file.write(path, self.to_json())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Front:
        """Read what ``save`` wrote. Raises RecipeError."""
        return HEADING.load(cls, path)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return self.model_dump(mode="json")

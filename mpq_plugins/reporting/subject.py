"""What a report is about, and the parts that it is put together from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mpq_plugins.errors import RecipeMismatch
from mpq_plugins.recipe.recipe import Recipe
from mpq_plugins.reporting.charts import Tick, group_ticks
from mpq_plugins.reporting.details import Details
from mpq_plugins.reporting.front import Front
from mpq_plugins.reporting.markup import Html

WAY_OUT = "give --details, or --model and --calibration"


@dataclass(frozen=True)
class Section:
    """A part of the page; anchor: its id."""

    anchor: str
    title: str
    body: Html


@dataclass(frozen=True)
class LeftOut:
    """A part that the page does not have, and why."""

    title: str
    reason: str


@dataclass(frozen=True)
class Subject:
    """A recipe, with its details and the front that it lies on, where they are known.

    name: of the recipe's file. Raises RecipeMismatch for details or a front of another recipe.
    """

    recipe: Recipe
    details: Details | None = None
    front: Front | None = None
    name: str = "recipe.json"

    def __post_init__(self) -> None:
        if self.details is not None:
            bits = {site: grid.bits for site, grid in self.recipe.items()}
            other = [name for name in {**bits, **self.details.sites} if bits.get(name) != self.details.sites.get(name)]
            if other:
                more = f" and {len(other) - 3} more" if len(other) > 3 else ""
                raise RecipeMismatch(
                    f"the details are of another recipe: they differ at {', '.join(other[:3])}{more}; make them anew "
                    "with mpq search --details, or give --model and --calibration"
                )
        if self.front is not None and (self.front.target, self.front.method) != (
            self.recipe.target,
            self.recipe.method,
        ):
            raise RecipeMismatch(
                f"the Pareto front is of target {self.front.target} and method {self.front.method}, and the recipe of "
                f"{self.recipe.target} and {self.recipe.method}"
            )

    def number(self, site: str) -> int:
        """The place of a site in the order of the network, from 1."""
        return list(self.recipe).index(site) + 1

    def ticks(self, sites: Sequence[str]) -> list[Tick]:
        """Labels below columns that stand for these sites."""
        return group_ticks(sites, [self.number(site) for site in sites])

    def loss(self) -> float | None:
        """The predicted loss of the recipe; None where it is not known."""
        if self.details is None or not self.details.losses:
            return self.recipe.predicted.get("loss")
        found = [self.details.losses.get(site, {}).get(grid.bits) for site, grid in self.recipe.items()]
        return None if None in found else float(sum(loss for loss in found if loss is not None))


def words(resource: str) -> str:
    """The name of a resource in words.

    >>> words("average_weight_bits"), words("bops"), words("latency_ms")
    ('average weight bits', 'bit operations', 'latency in ms')
    """
    return {"bops": "bit operations", "latency_ms": "latency in ms"}.get(resource, resource.replace("_", " "))

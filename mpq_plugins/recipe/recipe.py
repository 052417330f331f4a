"""Recipe: the grid of every site of a model. Every search ends in one, every quantization starts from one."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from mpq_plugins.errors import RecipeError, RecipeMismatch
from mpq_plugins.grid import Grid
from mpq_plugins.hardware.target import Target
from mpq_plugins.inventory import FLOAT_BITS, Inventory, ModelInput
from mpq_plugins.recipe import parsing, recipe_json, recipe_table
from mpq_plugins.recipe.float_part import FloatPart, float_parts
from mpq_plugins.recipe.site_grid import SiteGrid
from mpq_plugins.stored import whole_file

SHOWN = 8
"""How many names an error lists before it says how many more there are."""


@dataclass(frozen=True, repr=False)
class Recipe(Mapping[str, Grid]):
    """Site name -> Grid, with what is needed to check it and to explain it.

    sites: one per site, in the order of the model. target, method: their names.
    budget, costs, shadow_prices: by resource; a shadow price is the loss that one more unit of the
        budget would save.
    floats: what stays float, and why. macs: multiply-accumulates of the whole model for one sample; 0 where they are
        not known. inputs: the tensors that the model takes.
    predicted, measured: numbers by name: "loss" (the predicted rise, in the loss's unit), "latency_ms".
    hardware: the target itself, where it is none of mpq-plugins' own; a Target given as ``target`` is both.
    meta: whatever should travel along, such as framework versions, as text. Nothing depends on it.

    A recipe is a Mapping: ``recipe["conv1.weight"]``, ``in``, iteration over names, ``items()``.
    Raises RecipeError for repeated sites, sites of one group with different grids, grids that
    contradict shapes, and numbers that are not finite.

    >>> fc = SiteGrid("fc.weight", "weight", "linear", (2, 4), Grid.power_of_two(4, 0), reason="fixed")
    >>> recipe = Recipe([fc], target="generic-po2", method="msqe", budget={"weight_bytes": 8})
    >>> recipe["fc.weight"].bits, recipe.average_weight_bits, recipe.weight_bytes
    (4, 4.0, 4.0)
    """

    sites: tuple[SiteGrid, ...]
    target: str
    method: str
    budget: Mapping[str, float] = field(default_factory=dict)
    costs: Mapping[str, float] = field(default_factory=dict)
    shadow_prices: Mapping[str, float] = field(default_factory=dict)
    meta: Mapping[str, str] = field(default_factory=dict)
    floats: tuple[FloatPart, ...] = ()
    macs: int = 0
    inputs: tuple[ModelInput, ...] = ()
    predicted: Mapping[str, float] = field(default_factory=dict)
    measured: Mapping[str, float] = field(default_factory=dict)
    hardware: Target | None = None

    __hash__ = None  # type: ignore[assignment]  # holds mappings

    def __post_init__(self) -> None:
        object.__setattr__(self, "sites", tuple(self.sites))
        if isinstance(self.target, Target):
            object.__setattr__(self, "hardware", self.target)
            object.__setattr__(self, "target", self.target.name)
        if self.hardware is not None and self.hardware.name != self.target:
            raise RecipeError(f"the recipe is for target {self.target!r}, and holds target {self.hardware.name!r}")
        object.__setattr__(self, "floats", tuple(self.floats))
        object.__setattr__(self, "inputs", tuple(self.inputs))
        for name in ("budget", "costs", "shadow_prices", "predicted", "measured"):
            object.__setattr__(self, name, _finite(name, getattr(self, name)))
        object.__setattr__(self, "meta", {str(k): str(v) for k, v in self.meta.items()})
        by_name = {entry.site: entry for entry in self.sites}
        if len(by_name) < len(self.sites):
            names = [entry.site for entry in self.sites]
            raise RecipeError(f"sites occur twice: {_listed(sorted({n for n in names if names.count(n) > 1}))}")
        first_of: dict[str, SiteGrid] = {}
        for entry in self.sites:
            first = entry if entry.group is None else first_of.setdefault(entry.group, entry)
            if first.grid != entry.grid:
                raise RecipeError(
                    f"sites {first.site!r} and {entry.site!r} of group {entry.group!r} must share one grid, and "
                    f"have {first.grid} and {entry.grid}"
                )
        object.__setattr__(self, "_by_name", by_name)

    @classmethod
    def from_inventory(
        cls,
        inventory: Inventory,
        grids: Mapping[str, Grid],
        target: str | Target,
        method: str,
        reasons: Mapping[str, str] | None = None,
        **rest: Any,
    ) -> Recipe:
        """The recipe of a model, from the grid of each of its sites.

        target: its name, or the target itself for the recipe to hold. reasons: by site; missing ones are empty.
        rest: budget, costs, shadow_prices, predicted, meta. What stays float and the inputs are the inventory's.
        Raises RecipeMismatch where sites have no grid, or grids no site.
        """
        missing = [site.name for site in inventory if site.name not in grids]
        extra = [name for name in grids if name not in inventory]
        _refuse(missing, extra, [])
        sites = [SiteGrid.of(site, grids[site.name], (reasons or {}).get(site.name, "")) for site in inventory]
        macs = sum(site.macs for site in inventory) + sum(inventory.float_macs.values())
        known = {"floats": float_parts(inventory), "macs": macs, "inputs": inventory.inputs}
        return cls(tuple(sites), target, method, **{**known, **rest})  # type: ignore[arg-type]  # a Target is both

    def __getitem__(self, site: str) -> Grid:
        return self.site(site).grid

    def __iter__(self) -> Iterator[str]:
        return (entry.site for entry in self.sites)

    def __len__(self) -> int:
        return len(self.sites)

    def site(self, site: str) -> SiteGrid:
        """What the recipe says of a site. Raises RecipeMismatch, which is a KeyError too, when there is none."""
        found: SiteGrid | None = self._lookup().get(site)
        if found is None:
            raise UnknownSite(f"the recipe has no site {site!r}; it has {_listed(list(self))}")
        return found

    @property
    def weights(self) -> tuple[SiteGrid, ...]:
        """What the recipe says of weights, in order."""
        return tuple(entry for entry in self.sites if entry.kind == "weight")

    @property
    def activations(self) -> tuple[SiteGrid, ...]:
        """What the recipe says of activations, in order."""
        return tuple(entry for entry in self.sites if entry.kind == "activation")

    @property
    def float_ops(self) -> tuple[str, ...]:
        """Names of the ops that stay float."""
        return tuple(part.name for part in self.floats)

    @property
    def float_weights(self) -> dict[str, int]:
        """Elements of the weights that stay float, by op."""
        return {part.name: part.weights for part in self.floats if part.weights}

    @property
    def quantized_macs(self) -> float:
        """Share of the multiply-accumulates of one sample that runs in integers; 1 where they are not known."""
        return 1 - sum(part.macs for part in self.floats) / self.macs if self.macs else 1.0

    @property
    def float_lines(self) -> list[str]:
        """What stays float, why, and what share is quantized, in lines; none where nothing is float."""
        return recipe_table.floats(self.floats, self.macs, sum(entry.total_bits for entry in self.weights) / 8)

    @property
    def average_weight_bits(self) -> float:
        """Bits per weight element, those that stay float among them; 0 without weights."""
        elements = sum(entry.elements for entry in self.weights) + sum(self.float_weights.values())
        return self._weight_bits / elements if elements else 0.0

    @property
    def weight_bytes(self) -> float:
        """Bytes of all weights at their own bits, those that stay float among them; without biases and scales."""
        return self._weight_bits / 8

    @property
    def _weight_bits(self) -> float:
        return sum(entry.total_bits for entry in self.weights) + FLOAT_BITS * sum(self.float_weights.values())

    def with_grids(self, grids: Mapping[str, Grid], reason: str = "by hand") -> Recipe:
        """The recipe with other grids for some sites; what was counted, predicted and measured of it is dropped.

        Sites of one group change together: give all of them. Raises RecipeMismatch for an unknown site.
        """
        for name in grids:
            self.site(name)
        sites = [
            replace(entry, grid=grids[entry.site], reason=reason) if entry.site in grids else entry
            for entry in self.sites
        ]
        return replace(self, sites=tuple(sites), costs={}, shadow_prices={}, predicted={}, measured={})

    def check_fits(self, inventory: Inventory) -> None:
        """Raise RecipeMismatch unless recipe and model have the same sites of the same shapes."""
        other = [
            f"{entry.site} ({entry.kind} {entry.shape} in the recipe, {site.kind} {site.shape} in the model)"
            for entry in self.sites
            if entry.site in inventory
            and (entry.kind, entry.shape) != ((site := inventory[entry.site]).kind, site.shape)
        ]
        missing = [site.name for site in inventory if site.name not in self]
        _refuse(missing, [name for name in self if name not in inventory], other)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write JSON, all of it or nothing; equal recipes give equal bytes. Raises RecipeError."""
        whole_file.write(path, self.to_json(), "recipe", RecipeError)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Recipe:
        """Read what ``save`` wrote. Raises RecipeError for a damaged or newer file, naming the field."""
        return cls.from_json(whole_file.read(path, "recipe", RecipeError), str(path))

    def to_json(self) -> str:
        """The text of the file; exact, and readable: power-of-two grids are given by exponent."""
        rest = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "sites"}
        return recipe_json.dumps(self.sites, rest)

    @classmethod
    def from_json(cls, text: str | bytes, origin: str = "the recipe") -> Recipe:
        """The recipe of ``to_json``; ``origin`` names the text in errors (RecipeError)."""
        sites, rest = parsing.loads(text, origin)
        try:
            return cls(sites, **rest)
        except RecipeError as error:
            raise RecipeError(f"{origin} is damaged: {error}") from None

    def __str__(self) -> str:
        table = recipe_table.align(recipe_table.HEADINGS, recipe_table.rows(self.sites), recipe_table.RIGHT)
        elements = sum(entry.elements for entry in self.weights) + sum(self.float_weights.values())
        totals = [
            f"target {self.target}, method {self.method}: "
            f"{len(self.weights)} weights, {len(self.activations)} activations",
            f"weights: {elements:,} elements, {self.average_weight_bits:.3f} bits on average, "
            f"{self.weight_bytes:,.10g} bytes",
        ]
        costs = recipe_table.resources(self.costs, self.budget, self.shadow_prices)
        latency = recipe_table.remeasured(self.predicted, self.measured)
        return "\n".join([table, "", *totals, *self.float_lines, *costs, *latency])

    def __repr__(self) -> str:
        return (
            f"Recipe({len(self)} sites, target={self.target!r}, method={self.method!r}, "
            f"average_weight_bits={self.average_weight_bits:.3f})"
        )

    def _lookup(self) -> dict[str, SiteGrid]:
        return self.__dict__["_by_name"]  # type: ignore[no-any-return]


class UnknownSite(RecipeMismatch, KeyError):
    """A recipe was asked for a site that it does not have; a KeyError, as a Mapping must raise."""

    __str__ = Exception.__str__


def _finite(name: str, values: Mapping[str, float]) -> dict[str, float]:
    wrong = {key: value for key, value in values.items() if not math.isfinite(value)}
    if wrong:
        raise RecipeError(f"{name} must be finite numbers, got {_listed([f'{k}: {v}' for k, v in wrong.items()])}")
    return {str(key): float(value) for key, value in values.items()}


def _refuse(missing: list[str], extra: list[str], other: list[str]) -> None:
    kinds = {"without a grid in the recipe": missing, "that the model does not have": extra, "that differ": other}
    parts = [
        f"{len(names)} {'site' if len(names) == 1 else 'sites'} {what}: {_listed(names)}"
        for what, names in kinds.items()
        if names
    ]
    if parts:
        raise RecipeMismatch(
            f"the recipe does not fit the model: {'; '.join(parts)}. Search this model anew, or use the model "
            "that the recipe was made for"
        )


def _listed(names: Iterable[str]) -> str:
    every = list(names)
    more = f" and {len(every) - SHOWN} more" if len(every) > SHOWN else ""
    return ", ".join(every[:SHOWN]) + more

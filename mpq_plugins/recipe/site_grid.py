"""SiteGrid: the grid that a recipe gives one site, and why."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from mpq_plugins.errors import RecipeError
from mpq_plugins.grid import Grid
from mpq_plugins.inventory import Site


@dataclass(frozen=True)
class SiteGrid:
    """One line of a recipe: what the site is, its grid, and the reason in one line.

    kind, op, shape and group are those of the Site. Raises RecipeError when the grid contradicts the shape.

    >>> entry = SiteGrid("fc.weight", "weight", "linear", (2, 3), Grid.power_of_two(4, 0))
    >>> entry.elements, entry.total_bits
    (6, 24)
    """

    site: str
    kind: Literal["weight", "activation"]
    op: str
    shape: tuple[int, ...]
    grid: Grid
    group: str | None = None
    reason: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(self.shape))
        axis, channels = self.grid.axis, self.grid.channels
        if axis is None:
            return
        if not 0 <= axis < len(self.shape):
            raise RecipeError(
                f"site {self.site!r}: the grid's channels lie along axis {axis}, and its shape is {self.shape}"
            )
        if self.shape[axis] != channels:
            raise RecipeError(
                f"site {self.site!r}: a grid of {channels} channels does not fit axis {axis} of shape {self.shape}"
            )

    @classmethod
    def of(cls, site: Site, grid: Grid, reason: str = "") -> SiteGrid:
        """A site of an inventory with its grid."""
        return cls(site.name, site.kind, site.op, site.shape, grid, site.group, reason)

    @property
    def elements(self) -> int:
        """Number of elements (of one sample, for an activation)."""
        return math.prod(self.shape)

    @property
    def total_bits(self) -> int:
        """Bits of all elements."""
        return self.elements * self.grid.bits

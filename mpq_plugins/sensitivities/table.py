"""The sensitivities by name, and one or several of them on one model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from mpq_plugins.errors import MPQError
from mpq_plugins.problem import Problem
from mpq_plugins.sensitivities.divergence import Divergence
from mpq_plugins.sensitivities.masking import BEST_MASK
from mpq_plugins.sensitivities.noise import Noise
from mpq_plugins.sensitivities.rating import Rates, Sensitivity, sites_with_a_choice
from mpq_plugins.sensitivities.second_order import SecondOrder

SENSITIVITIES: Mapping[str, Sensitivity] = MappingProxyType(
    {s.name: s for s in (Divergence(), Noise(), SecondOrder(), BEST_MASK)}
)
"""kl, sqnr and fisher with their default arguments, and the best mask."""


def sensitivity(name: str | Sensitivity) -> Sensitivity:
    """A sensitivity by name, or itself; raises MPQError with the names there are."""
    if not isinstance(name, str):
        return name
    if name not in SENSITIVITIES:
        raise MPQError(f"there is no sensitivity {name!r}; there are {', '.join(SENSITIVITIES)}")
    return SENSITIVITIES[name]


def rate_all(problem: Problem, kinds: Iterable[str | Sensitivity] = tuple(SENSITIVITIES)) -> dict[str, Rates]:
    """By measure: what every candidate of every site with a choice costs."""
    sites = sites_with_a_choice(problem)
    chosen = [sensitivity(kind) for kind in kinds]
    return {one.name: one.rate(problem, sites) for one in chosen}

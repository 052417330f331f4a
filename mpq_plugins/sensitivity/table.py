"""The sensitivities by name, and one or several of them on one model."""

from __future__ import annotations

from collections.abc import Iterable

from mpq_plugins import registry
from mpq_plugins.search_input import Problem
from mpq_plugins.sensitivity.rating import Rates, Sensitivity, sites_with_a_choice


def sensitivity(name: str | Sensitivity) -> Sensitivity:
    """A sensitivity by name, or itself; raises PluginError with the closest names."""
    if not isinstance(name, str):
        return name
    found: Sensitivity = registry.host().sensitivity(name)
    return found


def rate_all(problem: Problem, kinds: Iterable[str | Sensitivity] | None = None) -> dict[str, Rates]:
    """By measure: what every candidate of every site with a choice costs. kinds: None for all that are registered."""
    sites = sites_with_a_choice(problem)
    chosen = [sensitivity(kind) for kind in (registry.host().sensitivities() if kinds is None else kinds)]
    return {one.name: one.rate(problem, sites) for one in chosen}

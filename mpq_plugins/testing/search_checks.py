"""What a post-training search must give: a recipe that fits model, target and budget, each time the same."""

from __future__ import annotations

import math
from typing import Any

from mpq_plugins import plugins
from mpq_plugins.costs.budget import Budget
from mpq_plugins.costs.cost_models import cost_of
from mpq_plugins.errors import InfeasibleBudget, MPQError, NonFiniteValues
from mpq_plugins.hardware.target import Target
from mpq_plugins.inventory import Inventory
from mpq_plugins.recipe.recipe import Recipe
from mpq_plugins.search.request import Request
from mpq_plugins.search_input import candidates_for
from mpq_plugins.testing.measured_network import FRAMEWORK, MeasuredNetwork, network_for
from mpq_plugins.testing.nonconforming import Nonconforming, require

ROUNDING = 1e-9
RESOURCES = ("average_weight_bits", "bops")
METHOD_TARGETS = ("generic-po2", "generic-po2-per-channel", "litert-int8")
"""Targets that a method is run on: one step per weight, one per channel, and free steps."""


def check_search(method: Any, target: Target) -> None:
    """Under budgets between the least and the most, and at fixed bits, the recipe is legal, in time and saved."""
    network = network_for(target)
    if network is None:
        return
    for resource in RESOURCES:
        budget = Budget.from_dict({resource: _middle(network, target, resource)})
        check_recipe(_search(method, target, network, budget), network.inventory, target)
    fewest = {name: kinds[0].bits for name, kinds in candidates_for(network.inventory, target).items()}
    fixed = _search(method, target, network, None, fewest)
    check_recipe(fixed, network.inventory, target)
    for name, b in fewest.items():
        require(fixed[name].bits == b, f"{_who(method, target)} was told {b} bits for {name} and gave {fixed[name]}")


def check_recipe(recipe: Recipe, inventory: Inventory, target: Target) -> None:
    """The recipe has a legal grid for every site of the model, keeps its budget, and survives its file."""
    word = f"the recipe of method {recipe.method!r} for target {target.name!r}"
    try:
        recipe.check_fits(inventory)
        for site in inventory:
            target.check(site, recipe[site.name])
    except MPQError as error:
        raise Nonconforming(f"{word}: {error}") from error
    for group in inventory.groups().values():
        require(
            len({recipe[site.name] for site in group}) == 1,
            f"{word}: {', '.join(site.name for site in group)} must share one grid and have several",
        )
    for name, limit in recipe.budget.items():
        cost = cost_of(plugins.cost_models()[name], inventory, {site: grid.bits for site, grid in recipe.items()})
        require(cost <= limit * (1 + ROUNDING), f"{word} costs {cost:g} of {name}, and the budget is {limit:g}")
        said = recipe.costs.get(name, math.nan)
        require(
            abs(said - cost) <= 1e-6 * max(cost, 1.0),
            f"{word} says that it costs {said:g} of {name}, and it is {cost:g}",
        )
    require(recipe.target == target.name, f"{word} is of target {recipe.target!r}")
    require(Recipe.from_json(recipe.to_json()) == recipe, f"{word} is not what it was after to_json and from_json")


def check_search_is_deterministic(method: Any, target: Target) -> None:
    """The same question gives the same recipe."""
    network = network_for(target)
    if network is None:
        return
    limit = _middle(network, target, "average_weight_bits")
    first, second = (_search(method, target, network, Budget(average_weight_bits=limit)).to_json() for _ in range(2))
    require(first == second, f"{_who(method, target)} gave two recipes for one question; draw from a fixed seed")


def check_search_refuses(method: Any, target: Target) -> None:
    """A budget that nobody can meet, and a weight that is not a number, are refused with what they deserve."""
    network = network_for(target)
    if network is None:
        return
    try:
        _request(method, target, Budget(average_weight_bits=0.5)).search(network, FRAMEWORK)
    except InfeasibleBudget as error:
        require(error.reachable, f"{_who(method, target)} raises InfeasibleBudget without what is reachable")
    except Exception as error:
        raise Nonconforming(
            f"{_who(method, target)} under a budget that nobody can meet raises {type(error).__name__} ({error}); "
            "raise InfeasibleBudget, as allocate does"
        ) from error
    else:
        raise Nonconforming(f"{_who(method, target)} gave a recipe under a budget of 0.5 bits, which nobody can meet")
    broken, limit = network_for(target, nan=True), _middle(network, target, "average_weight_bits")
    assert broken is not None
    try:
        _request(method, target, Budget(average_weight_bits=limit)).search(broken, FRAMEWORK)
    except NonFiniteValues:
        pass
    except Exception as error:
        raise Nonconforming(
            f"{_who(method, target)} on a weight with NaN raises {type(error).__name__} ({error}), not NonFiniteValues"
        ) from error
    else:
        raise Nonconforming(f"{_who(method, target)} gave a recipe for a weight with NaN; raise NonFiniteValues")


def _search(
    method: Any, target: Target, network: MeasuredNetwork, budget: Budget | None, bits: dict[str, int] | None = None
) -> Recipe:
    try:
        found = _request(method, target, budget, bits).search(network, FRAMEWORK)
    except Exception as error:
        asked = f"under {budget}" if budget else "at fixed bits"
        raise Nonconforming(f"{_who(method, target)} fails {asked}: {type(error).__name__}: {error}") from error
    require(isinstance(found, Recipe), f"{_who(method, target)}: search returns {type(found).__name__}, not a Recipe")
    require(found.method == method.name, f"{_who(method, target)}: its recipe says that it is of {found.method!r}")
    return found


def _request(method: Any, target: Target, budget: Budget | None, bits: dict[str, int] | None = None) -> Request:
    return Request(target, method, budget, bits, bits, progress=False)


def _middle(network: MeasuredNetwork, target: Target, resource: str) -> float:
    """Half way between what the fewest and the most bits cost."""
    candidates = candidates_for(network.inventory, target)
    ends = [{name: kinds[at].bits for name, kinds in candidates.items()} for at in (0, -1)]
    model = plugins.cost_models()[resource]
    return 0.5 * sum(cost_of(model, network.inventory, bits) for bits in ends)


def _who(method: Any, target: Target) -> str:
    return f"method {getattr(method, 'name', method)!r} on target {target.name!r}"

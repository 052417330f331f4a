"""From a TF-MOT model back to a recipe: the grids that its quantizers have come to, within the budget."""

from __future__ import annotations

import glob
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NoReturn

import numpy as np

from mpq_plugins import plugins
from mpq_plugins.costs.budget import Budget
from mpq_plugins.costs.latency_table import LatencyTable
from mpq_plugins.errors import ModelError, MPQError
from mpq_plugins.graph.node import INPUT
from mpq_plugins.graph.output_rounding import output_roundings
from mpq_plugins.graph.sites import take_sites
from mpq_plugins.graph.weights import accumulator_steps, as_framework
from mpq_plugins.grid import Grid
from mpq_plugins.hardware.target import Target
from mpq_plugins.inventory import Inventory
from mpq_plugins.recipe.recipe import Recipe
from mpq_plugins.registry.renamed_arguments import renamed
from mpq_plugins.search.headroom import with_headroom
from mpq_plugins.search_input import Bits
from mpq_plugins.thresholds.search import search_threshold
from mpq_plugins.training.hardened_grid import hardened_grid
from mpq_plugins.training.method import TrainingMethod
from mpq_plugins.training.plan import TrainingPlan, own_bits
from mpq_plugins.training.predicting import Losses, predicted_losses
from mpq_tfmot.keras import FRAMEWORK
from mpq_tfmot.training.hosted import Hosted, HostedModel, Numbers, forget_functions, hosted_model

TARGET = "litert-po2"
FOREIGN_BITS = 8
"""Bits of a layer that another config quantizes: TF-MOT's own."""
_TERMS = "_mpq_terms"


@renamed(model="trained")
def harden(
    trained: Any,
    target: str | Target | None = None,
    budget: Budget | None = None,
    latency: LatencyTable | None = None,
    *,
    freeze: bool = True,
) -> Recipe:
    """The recipe of a model that quantize_apply made with our configs: every grid where training has brought it.

    trained: the model.
    target, budget, latency: by default those of the SearchCallback that trained it, else litert-po2 and no budget.
    Where the method's own choice of bits is over the budget, the cheapest change by its preferences is made.
    freeze: keep the model at these grids from here on, so that ``fit`` trains the network alone; False leaves it.

    Batch norms that were left unfolded are folded in what a recipe is for, which moves a layer's weights off
    their grid: there bits are kept and thresholds found anew.

    Raises ModelError where a layer has no quantizer of ours, InfeasibleBudget, and MPQError where a search
    has not begun or a threshold is still unknown because the model has never been trained.
    """
    terms = getattr(trained, _TERMS, {})
    target = plugins.target(target or terms.get("target", TARGET))
    budget, latency = budget or terms.get("budget"), latency or terms.get("latency")
    hosted = hosted_model(trained)
    _check_complete(hosted)
    meta = {"framework": FRAMEWORK}
    groups = hosted.by_site()
    if all(h.quantizer.method is None for h in hosted.hosted):
        grids = {name: _widest([h.quantizer.grid(h.variables) for h in group]) for name, group in groups.items()}
        grids |= _given(hosted)
        recipe = _with_headroom(hosted, _recipe_of_grids(hosted, _refolded(hosted, grids), target, meta))
        known: Recipe | None = terms.get("recipe")
        return known if known is not None and dict(known.items()) == dict(recipe.items()) else recipe
    _check_trained(hosted)
    plan, grids, reasons = _chosen(hosted, target, budget, latency)
    folded = _refolded(hosted, grids)
    recipe = _with_headroom(hosted, plan.recipe(folded, reasons, meta))
    if freeze:
        object.__setattr__(trained, _TERMS, {**terms, "recipe": recipe})
        at = {name: recipe[name] if folded[name] == own else own for name, own in grids.items()}
        freeze_at(hosted, at, target)
    return recipe


def settle(hosted: HostedModel, target: str | Target, budget: Budget | None, latency: LatencyTable | None) -> None:
    """Where a search's choices become final, let those of every quantizer use the budget."""
    _, grids, _ = _chosen(hosted, target, budget, latency)
    for name, group in hosted.by_site().items():
        for one in group:
            one.settle(grids[name])


def _chosen(
    hosted: HostedModel, target: str | Target, budget: Budget | None, latency: LatencyTable | None
) -> tuple[TrainingPlan, dict[str, Grid], dict[str, str]]:
    """The plan, the grid of every group within the budget, and reasons."""
    groups = hosted.by_site()
    numbers = {id(h): h.numbers() for h in hosted.hosted if h.quantizer.method is not None}
    preferences = {name: _preferences(group, numbers) for name, group in groups.items()}
    preferences |= {name: {grid.bits: 0.0} for name, grid in _given(hosted).items()}
    own = {name: own_bits(costs) for name, costs in preferences.items()}
    plan = plan_of(hosted, target, budget if budget is not None else own, latency=latency)
    allowed = {name: {b: preferences[name][b] for b in slot.bits} for name, slot in plan.slots.items()}
    bits, reasons = plan.choose(allowed, _predicted(plan, groups) if plan.method.searches_bits else None)
    grids = {name: _widest([_grid(h, bits[name], numbers) for h in group]) for name, group in groups.items()}
    return plan, grids | _given(hosted), reasons


def _predicted(plan: TrainingPlan, groups: Mapping[str, Sequence[Hosted]]) -> Losses:
    """Predicted losses by slot; of several quantizers that share a grid, their sum."""
    found: Losses = {}
    members = {f"{name} {at}": (name, one) for name, group in groups.items() for at, one in enumerate(group)}
    slots = [replace(plan.slots[name], name=key) for key, (name, one) in members.items() if name in plan.slots]
    seen = {key: one.seen for key, (_, one) in members.items() if len(one.quantizer.bits) > 1}
    losses = predicted_losses(slots, seen, {key: one.energy for key, (_, one) in members.items()})
    for key, row in losses.items():
        name = members[key][0]
        before = found.get(name, dict.fromkeys(row, 0.0))
        found[name] = {b: before[b] + loss for b, loss in row.items()}
    return {name: found.get(name, dict.fromkeys(slot.bits, 0.0)) for name, slot in plan.slots.items()}


def freeze_at(hosted: HostedModel, grids: Mapping[str, Grid], target: Target) -> None:
    """Make every quantizer a fixed grid, where the model rounds as the target does.

    grids: by the first site of each group.
    """
    first, graph, grid_of = hosted.first_of_group(), hosted.graph, hosted.sites.grid_of
    by_site = {site: grids[name] for site, name in first.items()}
    rules = output_roundings(graph, grid_of, by_site, target)
    for name, group in hosted.by_site().items():
        for one in group:
            if one.weight is None:
                one.freeze(grids[name], rules.get(one.node.name))
            elif one.computes_with_it:
                source = by_site[grid_of[one.node.inputs[0]]]
                one.freeze(grids[name], bias_steps=accumulator_steps(one.node, grids[name], source))
            else:
                one.freeze(grids[name])
    forget_functions(hosted.model)


def remember_terms(model: Any, target: str | Target, budget: Budget | None, latency: LatencyTable | None) -> None:
    """Keep with the model what its search was for."""
    object.__setattr__(model, _TERMS, {"target": target, "budget": budget, "latency": latency})


def plan_of(
    hosted: HostedModel,
    target: str | Target,
    budget: Budget | Mapping[str, int] | None,
    latency: LatencyTable | None = None,
) -> TrainingPlan:
    """The plan of a search among the candidates of the quantizers.

    budget: or the bits of every slot, where they are known.
    A layer that another config quantizes, or none, counts FOREIGN_BITS. Raises as TrainingPlan.of, and MPQError
    where quantizers are of several methods.
    """
    method = _method_of(hosted)
    inventory = hosted.inventory
    candidates: dict[str, tuple[int, ...]] = {}
    groups = hosted.by_site()
    for site, first in hosted.first_of_group().items():
        found = [set(h.quantizer.bits) for h in groups.get(first, ())]
        shared = set.intersection(*found) if found else {FOREIGN_BITS}
        if not shared:
            raise MPQError(f"the quantizers of site {first!r} must share one grid and have no common bits")
        candidates[site] = tuple(sorted(shared))
        if isinstance(budget, Mapping):
            candidates[site] = (budget.get(first, FOREIGN_BITS),)
    weight_bits, activation_bits = (_patterns(inventory, candidates, kind) for kind in ("weight", "activation"))
    limit = None if isinstance(budget, Mapping) else budget
    per_channel = any(h.quantizer.axis is not None for h in hosted.hosted if h.weight is not None)
    return TrainingPlan.of(inventory, target, method, limit, weight_bits, activation_bits, per_channel, latency)


def _patterns(inventory: Inventory, candidates: Mapping[str, Sequence[int]], kind: str) -> Bits:
    return {glob.escape(site.name): tuple(candidates[site.name]) for site in inventory if site.kind == kind}


def _method_of(hosted: HostedModel) -> TrainingMethod:
    methods = [h.quantizer.method for h in hosted.hosted if h.quantizer.method is not None]
    if not methods:
        nothing_to_search(hosted)
    others = sorted({m.name for m in methods if m != methods[0]} | {methods[0].name})
    if any(m != methods[0] for m in methods):
        raise MPQError(
            f"the layers of {hosted.model.name!r} are trained by methods {', '.join(others)} or with different "
            "hyper-parameters; one search has one method (give bits by layer instead)"
        )
    return methods[0]


def nothing_to_search(hosted: HostedModel) -> NoReturn:
    """Raise what a model gets that has no quantizer of a method."""
    _check_hosts(hosted)
    raise MPQError(f"the model {hosted.model.name!r} has fixed grids alone; there is nothing to search")


def _check_hosts(hosted: HostedModel) -> None:
    if not hosted.hosted:
        raise ModelError(f"the model {hosted.model.name!r} has no quantizer of mpq_tfmot; quantize it first")


def _check_complete(hosted: HostedModel) -> None:
    _check_hosts(hosted)
    groups = hosted.by_site()
    given = _given(hosted)
    missing = [site for site, first in hosted.first_of_group().items() if first not in groups and first not in given]
    if missing:
        raise ModelError(
            f"{', '.join(missing[:5])}: no quantizer of mpq_tfmot there (TF-MOT's own 8-bit config has no power-of-two "
            "grid, and quantize_apply leaves out what is not annotated, with mpq_tfmot.QuantizeScheme too); annotate "
            "the whole model (quantize_annotate_model) for the scheme, or each of these layers with "
            "mpq_tfmot.QuantizeConfig"
        )


def _given(hosted: HostedModel) -> dict[str, Grid]:
    """The grids of groups that hold no quantizer of ours, and an input that TF-MOT's own layer quantizes."""
    first, groups = hosted.first_of_group(), hosted.by_site()
    return {first[site]: grid for site, grid in hosted.inputs.items() if first[site] not in groups}


def _check_trained(hosted: HostedModel) -> None:
    for one in hosted.hosted:
        method = one.quantizer.method
        if method is not None and method.searches_bits and len(one.quantizer.bits) > 1 and not one.clock:
            raise MPQError(
                f"site {one.site!r}: method {method.name!r} has not searched for a single step; train with "
                "model.fit(..., callbacks=[mpq_tfmot.SearchCallback(budget)]) first"
            )
    for one in hosted.hosted:
        if one.unseen:
            raise MPQError(
                f"site {one.site!r}: its threshold is still unknown; train the model, or call it once with "
                "training=True"
            )


def _preferences(group: Sequence[Hosted], numbers: Mapping[int, tuple[Numbers, Numbers]]) -> dict[int, float]:
    """The sum over the quantizers that share the grid; a fixed grid has one choice."""
    shared = set.intersection(*(set(h.quantizer.bits) for h in group))
    total = dict.fromkeys(sorted(shared), 0.0)
    for one in group:
        if one.quantizer.method is not None:
            costs = one.quantizer.method.preferences(one.quantizer.slot, *numbers[id(one)])
            total = {bits: cost + costs[bits] for bits, cost in total.items()}
    return total


def _grid(hosted: Hosted, bits: int, numbers: Mapping[int, tuple[Numbers, Numbers]]) -> Grid:
    quantizer = hosted.quantizer
    if quantizer.method is None:
        return quantizer.grid(hosted.variables)
    weight = None if hosted.weight is None else hosted.weight.numpy()
    return hardened_grid(quantizer.method, quantizer.slot, *numbers[id(hosted)], bits, weight)


def _widest(grids: Sequence[Grid]) -> Grid:
    """The grid that holds the range of all."""
    if len(grids) == 1:
        return grids[0]
    widest = max(grids, key=lambda grid: float(np.max(grid.threshold)))
    if widest.signed or not any(grid.signed for grid in grids):
        return widest
    return Grid(widest.bits, tuple(2 * step for step in widest.steps), True, False, widest.axis)


def _recipe_of_grids(hosted: HostedModel, grids: Mapping[str, Grid], target: Target, meta: Any) -> Recipe:
    first = hosted.first_of_group()
    by_site = {site.name: grids[first[site.name]] for site in hosted.sites.inventory}
    signs = {node.site: by_site[node.site].signed for node in hosted.graph.nodes if node.op == INPUT}
    inventory = take_sites(hosted.graph, signs).inventory
    methods = [h.wrapper.quantize_config.method_name for h in hosted.hosted if hasattr(h.wrapper, "quantize_config")]
    return Recipe.from_inventory(
        inventory, by_site, plugins.for_recipe(target), next(iter(methods), "msqe"), meta=dict(meta)
    )


def _with_headroom(hosted: HostedModel, recipe: Recipe) -> Recipe:
    """The recipe with weight steps large enough for the biases that the model has now."""
    biases = {node.weight_site: node.biases for node in hosted.graph.layers}
    return with_headroom(recipe, hosted.inventory, biases)


def _refolded(hosted: HostedModel, grids: Mapping[str, Grid]) -> dict[str, Grid]:
    """The grids with new thresholds where a batch norm is folded into a weight that trained without it."""
    layout = hosted.graph.layout
    layers = {node.weight_site: as_framework(node, layout) for node in hosted.graph.layers}
    moved = dict(grids)
    for one in hosted.hosted:
        if one.weight is None:
            continue
        folded, grid = layers[one.site], grids[one.site]
        if not np.array_equal(folded, np.asarray(one.weight.numpy(), np.float64)):
            moved[one.site] = search_threshold(folded, grid.bits, narrow=grid.narrow, axis=grid.axis)
    return moved

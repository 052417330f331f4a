"""Gathers the details of a recipe from its model and calibration data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from mpq_plugins import registry
from mpq_plugins.costs.budget import Budget
from mpq_plugins.costs.cost_models import CostModel
from mpq_plugins.costs.latency_table import LatencyTable
from mpq_plugins.errors import MPQError
from mpq_plugins.grid import Grid
from mpq_plugins.hardware.known_targets import target_of
from mpq_plugins.hardware.op_support import Candidate
from mpq_plugins.inventory import Inventory, Site
from mpq_plugins.recipe.recipe import Recipe
from mpq_plugins.reporting.cost_shares import shares
from mpq_plugins.reporting.details import Details, ErrorCurve, Verified
from mpq_plugins.reporting.signal_noise import SignalToNoise
from mpq_plugins.search.method import RatingMethod
from mpq_plugins.search.request import Request
from mpq_plugins.search_input import MeasuredModel
from mpq_plugins.sensitivity.ratings import losses
from mpq_plugins.terminal.progress import stage
from mpq_plugins.thresholds.search import error_table
from mpq_plugins.workspace.study import Study

OFFSETS = tuple(range(-4, 5))
RATING_METHOD = "msqe"
"""Whose predicted losses are shown for methods that predict none."""


def request_of(recipe: Recipe, latency: Path | None = None, progress: bool | None = None) -> Request:
    """The request that a recipe could come from: all candidates of its target, its budget.

    latency: file of a latency table.
    """
    per_channel = any(entry.grid.axis is not None for entry in recipe.weights)
    own = {name: limit for name, limit in recipe.budget.items() if name in Budget.__dataclass_fields__}
    other = {name: limit for name, limit in recipe.budget.items() if name not in own}
    budget = Budget(**own, other=other) if recipe.budget else None
    known = registry.host().methods()
    method = recipe.method if isinstance(known.get(recipe.method), RatingMethod) else RATING_METHOD
    table = None if latency is None else LatencyTable.load(latency)
    return Request(target_of(recipe), method, budget, per_channel=per_channel, latency=table, progress=progress)


def gather(study: Study, recipe: Recipe, request: Request) -> Details:
    """Everything that a report can show. request: of the recipe; its candidates are those whose losses are shown.

    Raises RecipeMismatch where the recipe is of another model.
    """
    commands, loaded = study.loaded.commands, study.loaded
    inventory: Inventory = commands.inventory(loaded.model, study.batches, study.keep_float, target_of(recipe))
    recipe.check_fits(inventory)
    if not isinstance(registry.host().method(request.method), RatingMethod):
        request = replace(request, method=RATING_METHOD)
    if request.budget is None:
        request = replace(request, budget=Budget(average_weight_bits=8))  # what rating is not influenced by
    problem, ratings = study.rate(request)
    table = losses(ratings)
    noise = SignalToNoise()
    with stage("rounding and simulating the model", study.progress):
        on_grid = commands.constrain(loaded.model, recipe, study.batches)
        for site, reference, simulated in commands.site_values(loaded.model, on_grid, recipe, study.batches):
            noise.add(site, reference, simulated)
    costs, units = _costs(recipe, problem.model.inventory, problem.cost_models)
    return Details(
        sites={name: grid.bits for name, grid in recipe.items()},
        samples=sum(len(batch[0]) for batch in study.batches),
        inventory=problem.model.inventory,
        rated_by=str(request.method),
        losses={name: dict(zip(ratings[name], table[name], strict=True)) for name in ratings},
        curves={
            site.name: curve(problem.model, site, recipe[site.name], problem.candidates[site.name])
            for site in problem.model.inventory
            if recipe[site.name].is_power_of_two
        },
        signal_to_noise=noise.decibels(),
        costs=costs,
        units=units,
        verified=_verified(study, on_grid, recipe),
    )


def curve(model: MeasuredModel, site: Site, grid: Grid, candidates: tuple[Candidate, ...]) -> ErrorCurve:
    """Mean squared error of a site over thresholds around that of its grid, for the bits of every candidate."""
    bits = sorted({*(c.bits for c in candidates), grid.bits})
    exponents = range(min(grid.exponents) + OFFSETS[0], max(grid.exponents) + OFFSETS[-1] + 1)
    if site.kind == "activation":
        found = error_table(model.histogram(site.name), bits, exponents, grid.signed, narrow=grid.narrow).error
        found = found[..., None]
    else:
        axis = None if grid.axis is None else 0
        found = error_table(model.weight(site.name), bits, exponents, True, axis=axis, narrow=grid.narrow).error
        found = found if axis == 0 else found[..., None]
    channels = np.arange(found.shape[2])
    places = np.asarray(grid.exponents) - exponents[0]
    by_offset = [found[:, places + offset, channels].mean(axis=1) for offset in OFFSETS]
    errors = {b: [float(row[i]) for row in by_offset] for i, b in enumerate(bits)}
    return ErrorCurve(offsets=list(OFFSETS), errors=errors)


def _costs(
    recipe: Recipe, inventory: Inventory, models: Mapping[str, CostModel]
) -> tuple[dict[str, dict[str, float]], dict[str, str]]:
    bits = {name: grid.bits for name, grid in recipe.items()}
    costs, units = {}, {}
    for name, model in models.items():
        try:
            costs[name] = shares(model, inventory, bits)
            units[name] = str(model.unit)
        except MPQError:  # this model cannot say, as when there is no latency table
            continue
    return costs, units


def _verified(study: Study, on_grid: object, recipe: Recipe) -> Verified:
    samples = sum(len(batch[0]) for batch in study.batches)
    try:
        found = study.loaded.commands.verify(on_grid, recipe, study.batches)
    except MPQError as error:
        return Verified(exact=None, text=f"not verified: {error}")
    return Verified(exact=found.exact, text=str(found), samples=samples)

"""The torch.ao FX adapter: search, constrain, simulate, quantize, verify."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import fx, nn

from mpq_plugins import plugins
from mpq_plugins.budget import Budget
from mpq_plugins.errors import RecipeMismatch, TargetError, UnsupportedOp
from mpq_plugins.graph.sites import take_sites
from mpq_plugins.inventory import Inventory
from mpq_plugins.latency_table import LatencyTable
from mpq_plugins.problem import Bits
from mpq_plugins.recipe import Recipe
from mpq_plugins.request import Request, float_ops_of
from mpq_plugins.search.measurement import Measurements
from mpq_plugins.search.signs import signed_inputs
from mpq_plugins.targets import Target
from mpq_torch.batches import as_batch, as_batches, in_chunks, model_inputs
from mpq_torch.canonical import CanonicalModel, canonicalize
from mpq_torch.constrained import clamp_ranges, layers, put_on_grids, replace_layers, set_bias, set_weight
from mpq_torch.conversion import convert
from mpq_torch.engine import DEFAULT_ENGINE
from mpq_torch.inventory import locate_sites, take_inventory
from mpq_torch.latency import measure_latency, time_models, time_recipe
from mpq_torch.qconfig import get_qconfig_mapping
from mpq_torch.reader.data import read_with_data
from mpq_torch.sensitivities import sensitivity
from mpq_torch.simulation import build_simulation
from mpq_torch.surroundings import undisturbed
from mpq_torch.sweep import compensate
from mpq_torch.synthetic import synthetic_inputs
from mpq_torch.training.search import Search
from mpq_torch.verification import Verification, verify

__all__ = [
    "Search",
    "Verification",
    "constrain",
    "get_qconfig_mapping",
    "inventory",
    "measure_latency",
    "quantize",
    "search",
    "sensitivity",
    "simulate",
    "synthetic_inputs",
    "time_models",
    "time_recipe",
    "verify",
]


def inventory(model: nn.Module, example_inputs: Any, keep_float: Iterable[str] = ()) -> Inventory:
    """All sites of a model: what a recipe for it must give grids to.

    example_inputs: a tensor, or a tuple of the model's arguments, with a batch axis.
    """
    canonical = canonicalize(model, keep_float)
    return take_inventory(canonical, as_batch(example_inputs, model_inputs(canonical.graph))).inventory


@undisturbed
def search(
    model: nn.Module,
    calibration: Iterable[Any] | torch.Tensor,
    target: str | Target,
    budget: Budget | None = None,
    weight_bits: Bits = None,
    activation_bits: Bits = None,
    method: Any = "msqe",
    *,
    per_channel: bool | None = None,
    keep_float: Iterable[str] = (),
    latency: LatencyTable | None = None,
    progress: bool | None = None,
) -> Recipe:
    """Find the grid of every weight and activation of a float model, under a budget.

    calibration: an iterable of example inputs: tensors, tuples of arguments, or (input, label) pairs,
        of which the labels are not looked at. A few hundred samples are enough.
    target: name of a registered target, path of a JSON file, or a Target.
    budget: needed unless weight_bits and activation_bits leave nothing to choose.
    weight_bits, activation_bits: candidates: a number, several, or a mapping from patterns of site
        names to either ({"fc.weight": 8, "*": (2, 3, 4)}); by default all that the target has.
    per_channel: one step per output channel of a weight; by default where the target has it.
    keep_float: modules and functional ops to leave in float. latency: for ``Budget(latency_ms=...)``.
    progress: show a progress bar; by default if standard error is a terminal.

    Raises a subclass of MPQError that names the site, the numbers and the way out.
    """
    request = Request(
        target, method, budget, weight_bits, activation_bits, per_channel, latency=latency, progress=progress
    )
    reading, batches = read_with_data(model, calibration, keep_float)
    sites = take_sites(reading.graph, signed_inputs(reading.graph, reading.runner, batches[0]))
    request.check(sites.inventory)
    measured = Measurements(reading.graph, sites, reading.runner, in_chunks(batches), progress)
    if budget is not None:
        measured.check_gradients()
    framework = f"torch {torch.__version__}"
    return request.search(
        measured, framework, reading.graph.float_ops, lambda recipe: time_recipe(model, recipe, batches[0])
    )


@undisturbed
def constrain(
    model: nn.Module, recipe: Recipe, calibration: Iterable[Any] | torch.Tensor | None = None
) -> fx.GraphModule:
    """The float model on its grids: batch norms folded, weights and biases on theirs, ranges clamped.

    calibration: as for ``search``. With it, weights are rounded with compensation and biases
    corrected, layer by layer; without it, both go to the nearest value.
    The model itself is left untouched; weights that lie on their grids stay where they are.
    Raises RecipeMismatch, with names, where the recipe is of another model.
    """
    canonical, sites, target = rounded(model, recipe, calibration)
    if target.runtime is None or target.runtime.framework == "torch":
        replace_layers(canonical, sites, recipe, _engine(target))
    clamp_ranges(canonical, sites, recipe, {entry.site: entry.shape for entry in recipe.activations})
    return canonical.graph


def rounded(
    model: nn.Module, recipe: Recipe, calibration: Iterable[Any] | torch.Tensor | None
) -> tuple[CanonicalModel, Mapping[fx.Node, str], Target]:
    """What every runtime's constrained model starts from: the canonical model, weights and biases on their grids.

    Arguments and errors as of ``constrain``. Returns the site of each node and the recipe's target too.
    """
    canonical, sites = _fitting(model, recipe)
    target = plugins.target(recipe.target)
    _check_products(canonical, sites, recipe, target)
    original = copy.deepcopy(canonical)
    put_on_grids(canonical, sites, recipe)
    if calibration is not None:
        batches = as_batches(calibration, model_inputs(canonical.graph))
        simulation = build_simulation(canonical, recipe, sites, target)
        for path, (weight, bias) in compensate(original, simulation, batches, recipe).items():
            set_weight(path, canonical.graph.get_submodule(path), weight)
            set_bias(canonical.graph.get_submodule(path), bias)
    return canonical, sites, target


@undisturbed
def simulate(model: nn.Module, recipe: Recipe) -> fx.GraphModule:
    """A float model that computes exactly what the recipe's target computes in integers.

    model: what ``constrain`` returned, or any model that the recipe fits, whose weights and biases
    are then rounded to nearest. Outputs are float tensors of grid values.
    """
    canonical, sites = _fitting(model, recipe)
    put_on_grids(canonical, sites, recipe)
    return build_simulation(canonical, recipe, sites, plugins.target(recipe.target))


@undisturbed
def quantize(
    model: nn.Module,
    recipe: Recipe,
    example_inputs: Any,
    calibration: Iterable[Any] | torch.Tensor | None = None,
) -> fx.GraphModule:
    """The model on torch's int8 kernels: constrain, prepare_fx, convert_fx in one call.

    Set ``torch.backends.quantized.engine`` to the engine of the recipe's target to run it.
    Raises NothingQuantized when a part that the recipe quantizes came out float.
    """
    engine = _engine(plugins.target(recipe.target))
    on_grid = constrain(model, recipe, calibration)
    return convert(on_grid, recipe, as_batch(example_inputs, model_inputs(on_grid)), engine)


def _fitting(model: nn.Module, recipe: Recipe) -> tuple[CanonicalModel, Mapping[fx.Node, str]]:
    """The canonical model and the site of each node, after a check that the recipe has just these.

    The shape of an activation takes an example to know; its name is checked, the weights' shapes too.
    """
    try:
        canonical = canonicalize(model, float_ops_of(recipe.meta))
    except UnsupportedOp as error:
        raise RecipeMismatch(f"the recipe does not fit the model: {error}") from error
    sites = locate_sites(canonical)
    shapes = {entry.site: entry.shape for entry in recipe.activations}
    recipe.check_fits(Inventory([replace(s, shape=shapes.get(s.name, s.shape)) for s in sites.inventory]))
    return canonical, sites.grid_of


def _engine(target: Target) -> str:
    """The quantized engine that a target runs on; a target without a runtime is simulated by the default's."""
    if target.runtime is None:
        return DEFAULT_ENGINE
    if target.runtime.framework != "torch":
        raise TargetError(
            f"target {target.name!r} runs on {target.runtime.framework}, not on torch; search for a torch target"
        )
    return target.runtime.engine


def _check_products(canonical: CanonicalModel, sites: Mapping[fx.Node, str], recipe: Recipe, target: Target) -> None:
    """Raise TargetError, naming the weight, where products of two grids could saturate on this processor."""
    for path, _, inputs in layers(canonical, sites):
        for name in inputs:
            target.check_products(f"{path}.weight", recipe[f"{path}.weight"], recipe[name])

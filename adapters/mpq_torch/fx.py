"""The torch.ao FX adapter: search, equalize, constrain, simulate, quantize, verify, harden."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from mpq_plugins.costs.budget import Budget
from mpq_plugins.costs.latency_table import LatencyTable
from mpq_plugins.errors import MPQError
from mpq_plugins.graph.sites import take_sites
from mpq_plugins.hardware.target import Target
from mpq_plugins.recipe.recipe import Recipe
from mpq_plugins.recipe.verification import Verification
from mpq_plugins.search.request import Request
from mpq_plugins.search.signs import signed_inputs
from mpq_plugins.search_input import Bits
from mpq_plugins.terminal.progress import stage
from mpq_torch.calibration.equalized import equalize
from mpq_torch.calibration.sensitivities import sensitivity
from mpq_torch.calibration.synthetic import synthetic_inputs
from mpq_torch.calling.surroundings import undisturbed
from mpq_torch.convert import constrain, quantize, simulate
from mpq_torch.latency.measure import measure_latency, time_models, time_recipe
from mpq_torch.reader.data import chunks_of, read_with_data
from mpq_torch.reader.inventory import inventory
from mpq_torch.simulation.simulated_model import simulation_of
from mpq_torch.simulation.verification import compare, first_difference
from mpq_torch.torch_ao.qconfig import get_qconfig_mapping
from mpq_torch.training.best import KeepBest
from mpq_torch.training.search import Search

__all__ = [
    "KeepBest",
    "Search",
    "Verification",
    "constrain",
    "equalize",
    "get_qconfig_mapping",
    "harden",
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
    memory_gb: float | None = None,
) -> Recipe:
    """Find the grid of every weight and activation of a float model, under a budget.

    calibration: an iterable of example inputs: tensors, tuples of arguments, or (input, label) pairs,
        of which the labels are not looked at. A few hundred samples are enough.
    target: name of a registered target, path of a JSON file, or a Target.
    budget: needed unless weight_bits leaves nothing to choose.
    weight_bits, activation_bits: candidates: a number, several, or a mapping from patterns of site
        names to either ({"fc.weight": 8, "*": (2, 3, 4)}); by default all that the target has, and of activations
        without a budget the most bits.
    per_channel: one step per output channel of a weight; by default where the target has it.
    keep_float: modules and functional ops to leave in float. latency: for ``Budget(latency_ms=...)``.
    progress: show a bar for every stage that takes over a second; by default if standard error is a terminal.
    memory_gb: gigabytes (10^9 bytes) that the search may take beside the model and the data; by default the
        machine's. Data goes through the model in chunks that fit.

    Raises a subclass of MPQError that names the site, the numbers and the way out.
    """
    request = Request(target, method, budget, weight_bits, activation_bits, per_channel, latency, progress, memory_gb)
    with stage("reading the model", progress):
        reading, batches = read_with_data(model, calibration, keep_float, request.hardware)
    sites = take_sites(reading.graph, signed_inputs(reading.graph, reading.runner, reading.given(batches[0])))
    request.check(sites.inventory)
    chunks = chunks_of(reading, batches, memory=request.memory)
    framework = f"torch {torch.__version__}"
    return request.search_graph(
        reading.graph, sites, reading.runner, chunks, framework, lambda recipe: time_recipe(model, recipe, batches[0])
    )


def verify(converted: nn.Module, simulated: nn.Module, inputs: Any, recipe: Recipe | None = None) -> Verification:
    """Compare what a converted int8 model returns with its simulation, element by element.

    converted: what ``quantize`` or convert_fx returned; it runs on the engine that it was converted for.
    simulated: what ``simulate`` returned; or the model itself, or what ``constrain`` made of it, with its recipe.
    inputs: a tensor, or an iterable of batches.
    Raises ModelError when one of the two is neither.
    """
    return compare(converted, *simulation_of(simulated, recipe, inputs), first_difference)


def harden(trained: Search) -> Recipe:
    """The recipe of a search, every grid where training has brought it; the model trains at these grids from here on.

    Called again it returns the same recipe. Raises MPQError before any step, and for anything but a Search.
    """
    if not isinstance(trained, Search):
        raise MPQError(f"harden needs the fx.Search whose model was trained, got {type(trained).__name__}")
    return trained.harden()

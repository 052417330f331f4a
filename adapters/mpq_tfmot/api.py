"""What users call: inventory, search, constrain, simulate, verify."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from typing import Any

from mpq_plugins import plugins
from mpq_plugins.costs.budget import Budget
from mpq_plugins.costs.latency_table import LatencyTable
from mpq_plugins.graph.sites import take_sites
from mpq_plugins.hardware.target import Target
from mpq_plugins.inventory import Inventory
from mpq_plugins.recipe.recipe import Recipe
from mpq_plugins.recipe.verification import Verification
from mpq_plugins.registry.renamed_arguments import renamed
from mpq_plugins.search.request import Request
from mpq_plugins.search_input import Bits
from mpq_plugins.terminal.progress import stage
from mpq_tfmot import litert
from mpq_tfmot.calibration.batches import as_chunks
from mpq_tfmot.convert import constrain, simulate
from mpq_tfmot.keras import FRAMEWORK
from mpq_tfmot.latency.measure import time_recipe
from mpq_tfmot.reader.reading import read_model

__all__ = ["constrain", "inventory", "search", "simulate", "to_litert", "verify"]


def inventory(model: Any, keep_float: Iterable[str] = (), target: str | Target | None = None) -> Inventory:
    """All sites of a built Sequential or Functional tf_keras model: what a recipe for it must give grids to.

    Weights are named ``<layer>.weight`` and have Keras' shapes; activations are named after their layer.
    keep_float, target: as of ``search``; a target may compute an op in several steps, each a site.
    """
    found = None if target is None else plugins.target(target)
    return take_sites(read_model(model, keep_float, target=found).graph).inventory


def search(
    model: Any,
    calibration: Iterable[Any] | Any,
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

    calibration: an array of inputs, or an iterable of batches: arrays, tuples of inputs, or (input, label) pairs
        (a tf.data.Dataset), of which the labels are not looked at. A few hundred samples are enough.
    target: name of a registered target, path of a JSON file, or a Target.
    budget: needed unless weight_bits leaves nothing to choose.
    weight_bits, activation_bits: candidates: a number, several, or a mapping from patterns of site
        names to either ({"fc.weight": 8, "*": (2, 3, 4)}); by default all that the target has, and of activations
        without a budget the most bits.
    per_channel: one step per output channel of a weight; by default where the target has it.
    keep_float: layers to leave in float, by name or pattern. latency: for ``Budget(latency_ms=...)``.
    progress: show a bar for every stage that takes over a second; by default if standard error is a terminal.
    memory_gb: gigabytes (10^9 bytes) that the search may take beside the model and the data; by default the
        machine's. Data goes through the model in chunks that fit.

    Raises a subclass of MPQError that names the site, the numbers and the way out.
    """
    request = Request(target, method, budget, weight_bits, activation_bits, per_channel, latency, progress, memory_gb)
    with stage("reading the model", progress):
        reading = read_model(model, keep_float, target=request.hardware, refusing=True)
        chunks = as_chunks(calibration, reading, memory=request.memory)
    sites = take_sites(reading.graph)
    request.check(sites.inventory)
    return request.search_graph(
        reading.graph, sites, reading.runner, chunks, FRAMEWORK, lambda recipe: time_recipe(model, recipe)
    )


@renamed(flat="converted")
def verify(
    converted: Any, simulated: Any, inputs: Any, recipe: Recipe | None = None, *, kernels: str | None = None
) -> Verification:
    """Compare what a converted model returns in LiteRT's interpreter with its simulation, code by code.

    converted: what ``litert.export`` returned, or its file. Otherwise as ``litert.verify``.
    """
    return litert.verify(converted, simulated, inputs, recipe, kernels=kernels)


def to_litert(model: Any, recipe: Recipe, pack: bool = True) -> bytes:
    """The old name of ``mpq_tfmot.litert.export``."""
    warnings.warn("mpq_tfmot.to_litert is now mpq_tfmot.litert.export", DeprecationWarning, stacklevel=2)
    return litert.export(model, recipe, pack=pack)

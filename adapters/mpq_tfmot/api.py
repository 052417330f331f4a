"""What users call: inventory, search, constrain, simulate, to_litert, verify."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from mpq_plugins import plugins
from mpq_plugins.budget import Budget
from mpq_plugins.inventory import Inventory
from mpq_plugins.latency_table import LatencyTable
from mpq_plugins.problem import Bits
from mpq_plugins.recipe import Recipe
from mpq_plugins.request import Request
from mpq_plugins.targets import Target
from mpq_tfmot.batches import as_batches
from mpq_tfmot.canonical import CanonicalModel, canonicalize
from mpq_tfmot.keras import keras, tf
from mpq_tfmot.latency import time_recipe
from mpq_tfmot.measurement import Measurements
from mpq_tfmot.model_sites import ModelSites, take_inventory
from mpq_tfmot.rebuilding import rebuild
from mpq_tfmot.simulation import Simulation, put_on_grids
from mpq_tfmot.sweep import compensate


def inventory(model: Any) -> Inventory:
    """All sites of a built Sequential or Functional tf_keras model: what a recipe for it must give grids to.

    Weights are named ``<layer>.weight`` and have Keras' shapes; activations are named after their layer.
    """
    return take_inventory(canonicalize(model)).inventory


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
    latency: LatencyTable | None = None,
    progress: bool | None = None,
) -> Recipe:
    """Find the grid of every weight and activation of a float model, under a budget.

    calibration: an array of inputs, or an iterable of batches: arrays, tuples of inputs, or (input, label) pairs
        (a tf.data.Dataset), of which the labels are not looked at. A few hundred samples are enough.
    target: name of a registered target, path of a JSON file, or a Target.
    budget: needed unless weight_bits and activation_bits leave nothing to choose.
    weight_bits, activation_bits: candidates: a number, several, or a mapping from patterns of site
        names to either ({"fc.weight": 8, "*": (2, 3, 4)}); by default all that the target has.
    per_channel: one step per output channel of a weight; by default where the target has it.
    latency: for ``Budget(latency_ms=...)``. progress: show a bar; by default if standard error is a terminal.

    Raises a subclass of MPQError that names the site, the numbers and the way out.
    """
    request = Request(
        target, method, budget, weight_bits, activation_bits, per_channel, latency=latency, progress=progress
    )
    canonical = canonicalize(model)
    batches = as_batches(calibration, [op.shape for op in canonical.inputs])
    sites = take_inventory(canonical)
    request.check(sites.inventory)
    measured = Measurements(canonical, sites, batches, progress)
    measured.inventory = take_inventory(canonical, measured.signed_inputs()).inventory
    framework = f"tensorflow {tf.__version__}, tf_keras {keras.__version__}"
    return request.search(measured, framework, canonical.float_ops, lambda recipe: time_recipe(model, recipe))


def constrain(
    model: Any,
    recipe: Recipe,
    calibration: Iterable[Any] | Any | None = None,
    *,
    nearest: bool = False,
    progress: bool | None = False,
) -> Any:
    """The float model on its grids: a functional tf_keras model, batch norms folded, weights and biases on theirs.

    calibration: as for ``search``. With it, weights are rounded with compensation and biases
    corrected, layer by layer; without it, both go to the nearest value.
    nearest: round weights to nearest all the same, and let calibration correct the biases alone.
    The model itself is left untouched; weights that lie on their grids stay where they are. (Ranges of
    activations are not clamped here: quantize, simulate and to_litert do it from the recipe.)
    Raises RecipeMismatch, with names, where the recipe is of another model.
    """
    canonical, sites = _fitting(model, recipe)
    if calibration is None:
        return rebuild(put_on_grids(canonical, sites.grid_of, recipe))
    batches = as_batches(calibration, [op.shape for op in canonical.inputs])
    simulation = Simulation(canonical, recipe, sites.grid_of, plugins.target(recipe.target))
    return rebuild(compensate(canonical, simulation, batches, progress, nearest))


def simulate(model: Any, recipe: Recipe) -> Simulation:
    """A function that computes exactly what the recipe's target computes in integers.

    model: what ``constrain`` returned, or any model that the recipe fits, whose weights and biases
    are then rounded to nearest. ``simulation(x)``, ``simulation.predict(x)`` and ``simulation.sites(x)``
    give float tensors of grid values.
    """
    canonical, sites = _fitting(model, recipe)
    target = plugins.target(recipe.target)
    return Simulation(put_on_grids(canonical, sites.grid_of, recipe), recipe, sites.grid_of, target)


def to_litert(model: Any, recipe: Recipe, pack: bool = True) -> bytes:
    """The model as a LiteRT flatbuffer (.tflite) of integer ops; input and output are float32.

    model: as for ``simulate``. pack: store weights of 4 bits and fewer two to a byte where that stays
    exact. Raises UnsupportedOp, naming the layers, where a part would stay float; a softmax or sigmoid at
    the end runs in float on the dequantized outputs.
    """
    from mpq_tfmot import litert  # it verifies simulations too, and so imports what is above

    return litert.export(model, recipe, pack=pack)


def _fitting(model: Any, recipe: Recipe) -> tuple[CanonicalModel, ModelSites]:
    """The canonical model and its sites, after a check that the recipe has just these."""
    canonical = canonicalize(model)
    sites = take_inventory(canonical)
    recipe.check_fits(sites.inventory)
    return canonical, sites

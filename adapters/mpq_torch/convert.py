"""From a model and its recipe to the model on its grids, its simulation, and torch's int8 kernels."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import fx, nn

from mpq_plugins import plugins
from mpq_plugins.errors import TargetError
from mpq_plugins.graph.quantized import QuantizedGraph
from mpq_plugins.graph.runtimes import all_runtimes, check_rounds_as
from mpq_plugins.hardware.target import Target
from mpq_plugins.recipe.recipe import Recipe
from mpq_plugins.rounding.moments.thinning import COLUMNS
from mpq_plugins.search.constraining import constrained as constrained_graph
from mpq_plugins.terminal.progress import stage
from mpq_torch.calling.arguments import takes_of
from mpq_torch.calling.batches import Batch, as_batch, as_batches, on_device
from mpq_torch.calling.surroundings import undisturbed
from mpq_torch.reader.data import chunks_of
from mpq_torch.reader.example import example_of
from mpq_torch.reader.fitting import inputs_of, read_fitting, read_quantized
from mpq_torch.reader.reading import Reading
from mpq_torch.reader.writing import write_module
from mpq_torch.simulation.simulated_model import SimulatedModel
from mpq_torch.torch_ao.conversion import convert
from mpq_torch.torch_ao.engine import DEFAULT_ENGINE
from mpq_torch.torch_ao.kernel_forms import check_products, clamps_on_grids, grid_clamps, kernel_layers


@undisturbed
def constrain(
    model: nn.Module,
    recipe: Recipe,
    calibration: Iterable[Any] | torch.Tensor | None = None,
    *,
    example_inputs: Any = None,
    nearest: bool = False,
    progress: bool | None = None,
    memory_gb: float | None = None,
    positions: int = COLUMNS,
) -> fx.GraphModule:
    """The float model on its grids: batch norms folded, weights and biases on theirs, ranges clamped.

    calibration: as for ``search``. With it, weights are rounded with compensation and biases
    corrected, layer by layer; without it, both go to the nearest value.
    example_inputs: a tensor, or a tuple of the model's arguments; needed where neither calibration nor the recipe
    tells the shapes of all arguments, or the model takes one batch size only.
    nearest: round weights to nearest all the same, and let calibration correct the biases alone.
    progress, memory_gb: as of ``search``; what does not fit of the values between layers waits in temporary files.
    positions: of the output of each convolution, over all samples, that its weight is rounded by, about; more of them
    cost time, and are worth it where activations have few bits.
    The model itself is left untouched; weights that lie on their grids stay where they are.
    Raises RecipeMismatch, with names, where the recipe is of another model.
    """
    reading, quantized = rounded(model, recipe, calibration, example_inputs, nearest, progress, memory_gb, positions)
    target = quantized.target
    own_kernels = target.runtime is None or target.runtime.framework == "torch"
    engine = DEFAULT_ENGINE if target.runtime is None else target.runtime.engine
    return write_module(
        replace(reading, graph=clamps_on_grids(quantized)),
        kernel_layers(quantized, engine) if own_kernels else {},
        lambda node: grid_clamps(quantized, node),
        channels_last=True,
    )


def rounded(
    model: nn.Module,
    recipe: Recipe,
    calibration: Iterable[Any] | torch.Tensor | None,
    example_inputs: Any,
    nearest: bool,
    progress: bool | None,
    memory_gb: float | None,
    positions: int,
) -> tuple[Reading, QuantizedGraph]:
    """What every runtime's constrained model starts from: weights and biases on their grids.

    Arguments and errors as of ``constrain``.
    """
    batches = None if calibration is None else as_batches(calibration, takes_of(model))
    example = _example(model, example_inputs) if batches is None else batches[0]
    with stage("reading the model", progress):
        reading, sites = read_fitting(model, recipe, example)
    target = plugins.target_of(recipe)
    check_products(QuantizedGraph(reading.graph, recipe, sites.grid_of, target))
    chunks = None if batches is None else partial(chunks_of, reading, batches)
    with torch.no_grad():  # the parameters of float parts would keep all that was computed with them
        graph = constrained_graph(
            reading.graph, sites, recipe, reading.runner, chunks, nearest, progress, memory_gb, positions
        )
    return reading, QuantizedGraph(graph, recipe, sites.grid_of, target)


def _example(model: nn.Module, example_inputs: Any) -> Batch | None:
    return None if example_inputs is None else as_batch(example_inputs, takes_of(model))


@undisturbed
def simulate(model: nn.Module, recipe: Recipe, *, example_inputs: Any = None) -> SimulatedModel:
    """A float model that computes exactly what the recipe's target computes in integers.

    model: what ``constrain`` returned, or any model that the recipe fits, whose weights and biases
    are then rounded to nearest. example_inputs: as of ``constrain``. Outputs are float tensors of grid values.
    """
    return SimulatedModel(*read_quantized(model, recipe, _example(model, example_inputs)))


@undisturbed
def quantize(
    model: nn.Module,
    recipe: Recipe,
    example_inputs: Any = None,
    calibration: Iterable[Any] | torch.Tensor | None = None,
) -> fx.GraphModule:
    """The model on torch's int8 kernels: constrain, prepare_fx, convert_fx in one call.

    example_inputs, calibration: as of ``constrain``. The model may be on any device; what is returned is on the
    processor, which torch's kernels are for.
    Set ``torch.backends.quantized.engine`` to the engine of the recipe's target to run it.
    Raises NothingQuantized when a part that the recipe quantizes came out float, and ProcessorLimit where the kernels
    of this processor clip sums that the recipe's target adds.
    """
    target = plugins.target_of(recipe)
    engine = _engine(target)
    on_grid, example = constrained(constrain, model, recipe, example_inputs, calibration)
    if target.runtime is None:
        _check_stand_in(on_grid, recipe, example)
    return convert(on_grid, recipe, example, engine)


def _check_stand_in(on_grid: nn.Module, recipe: Recipe, example: Batch) -> None:
    """Raise ProcessorLimit where the kernels that stand in for hardware without a runtime saturate."""
    stand_in = plugins.target(f"torch-{DEFAULT_ENGINE}")
    if stand_in.saturation is not None and stand_in.saturation.applies():
        check_products(read_quantized(on_grid, recipe, example)[1], stand_in)


def constrained(
    verb: Callable[..., fx.GraphModule],
    model: nn.Module,
    recipe: Recipe,
    example_inputs: Any,
    calibration: Iterable[Any] | torch.Tensor | None,
) -> tuple[fx.GraphModule, Batch]:
    """The model on its grids, and an example of its arguments: the one given, of the calibration, or of the recipe.

    Both on the processor, whatever device the model is on: integer kernels are there.
    verb: the ``constrain`` of an adapter; other arguments as of ``quantize``.
    """
    batches = None if calibration is None else as_batches(calibration, takes_of(model))
    on_grid = verb(model, recipe, batches, example_inputs=example_inputs).cpu()
    if example_inputs is not None:
        return on_grid, as_batch(example_inputs, takes_of(on_grid))
    example = Batch(example_of(on_grid, inputs_of(recipe))) if batches is None else batches[0]
    return on_grid, on_device(example, torch.device("cpu"))


def _engine(target: Target) -> str:
    """The quantized engine that a target runs on; a target without a runtime is simulated by the default's."""
    if target.runtime is None:
        check_rounds_as(
            target,
            all_runtimes()["torch", DEFAULT_ENGINE],
            "torch's kernels round half to even; simulate the recipe, or run it in integers (mpq_torch.integers)",
        )
        return DEFAULT_ENGINE
    if target.runtime.framework != "torch":
        raise TargetError(
            f"target {target.name!r} runs on {target.runtime.framework}, not on torch; search for a torch target"
        )
    return target.runtime.engine

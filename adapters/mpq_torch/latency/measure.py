"""Latency on the device: of every op of a torch model, and of a finished model as a whole."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mpq_plugins import plugins
from mpq_plugins.costs.latency_table import LatencyTable
from mpq_plugins.errors import ModelError
from mpq_plugins.hardware.target import Target
from mpq_plugins.latency.clock import Timing, time_in_turns
from mpq_plugins.latency.graph_latency import measure_graph
from mpq_plugins.latency.measuring import ROUNDS
from mpq_plugins.latency.timing_store import TimingStore
from mpq_plugins.recipe.recipe import Recipe
from mpq_plugins.search_input import Bits
from mpq_torch.calling.arguments import rebuilt, takes_of
from mpq_torch.calling.batches import Batch, as_batch
from mpq_torch.reader.example import example_of
from mpq_torch.reader.fitting import inputs_of
from mpq_torch.reader.reading import read_model
from mpq_torch.torch_ao.engine import engine_of, quantized_engine


def measure_latency(
    model: nn.Module,
    example_inputs: Any,
    target: str | Target,
    weight_bits: Bits = None,
    activation_bits: Bits = None,
    *,
    per_channel: bool | None = None,
    keep_float: Iterable[str] = (),
    batch: int = 1,
    rounds: int = ROUNDS,
    again: bool = False,
    store: TimingStore | None = None,
    progress: bool | None = None,
) -> LatencyTable:
    """Measure every op of a model on the device of a target, at every choice of bits that a search may make.

    The arguments are those of ``search``; give the same bits. example_inputs: as for ``inventory``.
    batch: samples in one call; the table counts one of them. rounds: samples of each timing.
    store: where samples are kept; by default the cache of this device, so that a second call, or one
    after an interruption, measures only what is missing. again: measure all anew.
    Raises CostError or PluginError where the device has no answer, and what ``search`` raises.
    """
    target = plugins.target(target)
    if example_inputs is None:
        raise ModelError(
            "a torch model does not know the shape of its input; give example inputs (to mpq measure: --shape or "
            "--calibration)"
        )
    graph = read_model(model, as_batch(example_inputs, takes_of(model)), keep_float, target=target).graph
    return measure_graph(
        graph, target, weight_bits, activation_bits, per_channel, batch, rounds, again, store, progress
    )


def time_models(
    converted: Mapping[str, nn.Module], example_inputs: Any, batch: int = 1, rounds: int = ROUNDS
) -> dict[str, Timing]:
    """End to end: seconds of a call of each converted model (``quantize``), in interleaved rounds.

    Raises ModelError for anything but models by their names.
    """
    if not isinstance(converted, Mapping) or not converted:
        raise ModelError('models to be timed are given by their names: {"int8": fx.quantize(...), "float": model}')
    first = next(iter(converted.values()))
    examples = as_batch(example_inputs, takes_of(first))
    examples = rebuilt(examples, lambda value: _of_batch(value, batch))

    def call(model: nn.Module) -> Any:
        def run() -> Any:
            with quantized_engine(engine_of(model)), torch.no_grad():
                return model(*examples)

        return run

    return time_in_turns({name: call(model) for name, model in converted.items()}, rounds)


def time_recipe(model: nn.Module, recipe: Recipe, example_inputs: Any = None, rounds: int = ROUNDS) -> Timing:
    """End to end: seconds of one sample of the model, converted by the recipe.

    example_inputs: by default zeros, of what the recipe says that the model takes.
    """
    from mpq_torch.convert import quantize

    example = Batch(example_of(model, inputs_of(recipe))) if example_inputs is None else example_inputs
    return time_models({"model": quantize(model, recipe, example)}, example, rounds=rounds)["model"]


def _of_batch(value: Any, batch: int) -> Any:
    """An argument at another batch size, its samples repeated where there are too few."""
    if not isinstance(value, Tensor) or not value.dim() or len(value) == batch:
        return value
    repeats = -(-batch // len(value))
    return torch.cat([value] * repeats)[:batch]

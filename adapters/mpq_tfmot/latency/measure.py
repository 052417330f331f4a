"""Latency on the device: of every op of a Keras model, and of a finished LiteRT model as a whole."""

from __future__ import annotations

from typing import Any

from mpq_plugins import plugins
from mpq_plugins.costs.latency_table import LatencyTable
from mpq_plugins.exporters.litert.running import XNNPACK, time_models
from mpq_plugins.hardware.target import Target
from mpq_plugins.latency.clock import Timing
from mpq_plugins.latency.graph_latency import measure_graph
from mpq_plugins.latency.measuring import ROUNDS
from mpq_plugins.latency.timing_store import TimingStore
from mpq_plugins.recipe.recipe import Recipe
from mpq_plugins.search_input import Bits
from mpq_tfmot.reader.reading import read_model

__all__ = ["measure_latency", "time_models", "time_recipe"]


def measure_latency(
    model: Any,
    example_inputs: Any = None,
    target: str | Target = "litert-po2",
    weight_bits: Bits = None,
    activation_bits: Bits = None,
    *,
    per_channel: bool | None = None,
    batch: int = 1,
    rounds: int = ROUNDS,
    again: bool = False,
    store: TimingStore | None = None,
    progress: bool | None = None,
) -> LatencyTable:
    """Measure every op of a model on the device of a target, at every choice of bits that a search may make.

    The arguments are those of ``search``; give the same bits. example_inputs: not looked at, since a Keras
    model knows its shapes. batch: samples in one call; the table counts one of them. rounds: samples of
    each timing. store: where samples are kept; by default the cache of this device, so that a second
    call, or one after an interruption, measures only what is missing. again: measure all anew.
    Raises CostError or PluginError where the device has no answer, and what ``search`` raises.
    """
    target = plugins.target(target)
    graph = read_model(model, target=target).graph
    return measure_graph(
        graph, target, weight_bits, activation_bits, per_channel, batch, rounds, again, store, progress
    )


def time_recipe(model: Any, recipe: Recipe, rounds: int = ROUNDS) -> Timing:
    """End to end: seconds of one sample of the model, converted by the recipe."""
    from mpq_tfmot import litert

    runtime = plugins.target_of(recipe).runtime
    kernels = runtime.engine if runtime is not None else XNNPACK
    return time_models({"model": litert.export(model, recipe)}, kernels, rounds=rounds)["model"]

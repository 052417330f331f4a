"""The latency table of a graph: every op at every choice of bits that a search may make."""

from __future__ import annotations

from mpq_plugins.costs.latency_table import LatencyTable
from mpq_plugins.graph.node import Graph
from mpq_plugins.graph.sites import take_sites
from mpq_plugins.graph.workloads import model_work
from mpq_plugins.hardware.target import Target
from mpq_plugins.latency.measuring import ROUNDS
from mpq_plugins.latency.model_latency import measure_model
from mpq_plugins.latency.timing_store import TimingStore
from mpq_plugins.search_input import Bits, candidates_for


def measure_graph(
    graph: Graph,
    target: Target,
    weight_bits: Bits = None,
    activation_bits: Bits = None,
    per_channel: bool | None = None,
    batch: int = 1,
    rounds: int = ROUNDS,
    again: bool = False,
    store: TimingStore | None = None,
    progress: bool | None = None,
) -> LatencyTable:
    """Measure the ops of a graph on the device of a target. batch: samples in one call; the table counts one of them.

    Raises what ``candidates_for`` and ``measure_model`` raise.
    """
    sites = take_sites(graph)
    candidates = candidates_for(sites.inventory, target, weight_bits, activation_bits, per_channel)
    by_channel = {site.name for site in sites.inventory.weights if candidates[site.name][0].per_channel}
    work = model_work(graph, sites, by_channel, batch)
    return measure_model(
        work, sites.inventory, target, candidates, rounds=rounds, again=again, progress=progress, store=store
    )

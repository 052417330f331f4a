"""From the workloads of a model to its latency table: what an adapter lists, measured and added up."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from mpq_plugins import registry
from mpq_plugins.costs.latency_table import LatencyTable
from mpq_plugins.costs.op_table import Bits, EnergyTable
from mpq_plugins.errors import CostError
from mpq_plugins.hardware.device import Device
from mpq_plugins.hardware.op_support import Candidate
from mpq_plugins.hardware.target import Target
from mpq_plugins.hardware.workload import ModelWork, Workload
from mpq_plugins.inventory import FLOAT_BITS, Inventory, Site
from mpq_plugins.latency.clock import Timing
from mpq_plugins.latency.measuring import ROUNDS, measure_workloads
from mpq_plugins.latency.timing_store import TimingStore


def measure_model(
    work: ModelWork,
    inventory: Inventory,
    target: Target,
    candidates: Mapping[str, Sequence[Candidate]],
    *,
    rounds: int = ROUNDS,
    again: bool = False,
    progress: bool | None = None,
    store: TimingStore | None = None,
) -> LatencyTable:
    """Measure every workload at the bits of the candidates, and make the latency table of the model.

    store: where samples are kept; None is the cache of this device. The other arguments are those of
    ``measure_workloads``, whose errors are raised too.
    """
    store = TimingStore.in_cache(describe(target)) if store is None else store
    by_site = {site.name: _by_bits(site, work, candidates) for site in inventory}
    asked = [w for rows in by_site.values() for workloads in rows.values() for w in workloads]
    as_run = {w: store.device.as_run(w) for w in dict.fromkeys([*asked, *work.others])}
    wanted = [w for w in as_run.values() if w is not None]
    timings = measure_workloads(target, wanted, store, rounds=rounds, again=again, progress=progress)
    return _assemble(by_site, work, inventory, as_run, timings, store.device)


def describe(target: Target) -> Device:
    """The device of a target, as a plug-in describes it; else this machine."""
    found: Device = registry.host().describe_device(target)
    return found


def _by_bits(
    site: Site, work: ModelWork, candidates: Mapping[str, Sequence[Candidate]]
) -> dict[Bits, tuple[Workload, ...]]:
    """The workloads of a site at each choice of its bits (and of its input's, for a weight)."""
    own = candidates[site.name]
    if site.kind == "activation":
        listed = work.activations.get(site.name, ())
        return {c.bits: tuple(w.at(None, c.bits) for w in listed) for c in own} if listed else {}
    if site.name not in work.weights:
        raise CostError(f"the adapter lists no workload for the weight {site.name}")
    sources = {c.bits for name in site.inputs for c in candidates[name]} or {FLOAT_BITS}
    return {
        (c.bits, bits): tuple(w.at(c.bits, bits) for w in work.weights[site.name])
        for c in own
        for bits in sorted(sources)
    }


def _assemble(
    by_site: Mapping[str, Mapping[Bits, tuple[Workload, ...]]],
    work: ModelWork,
    inventory: Inventory,
    as_run: Mapping[Workload, Workload | None],
    timings: Mapping[Workload, Timing],
    device: Device,
) -> LatencyTable:
    def of(workloads: Iterable[Workload]) -> list[tuple[Timing, int]]:
        run = [(as_run[w], w.batch) for w in workloads]
        return [(timings[w], batch) for w, batch in run if w is not None]

    milliseconds: dict[str, dict[Bits, float]] = {}
    spreads: dict[str, dict[Bits, float]] = {}
    millijoules: dict[str, dict[Bits, float]] = {}
    for name, rows in by_site.items():
        site = inventory[name]
        calls = max(1, len(site.inputs)) if site.kind == "weight" else 1
        for bits, workloads in rows.items():
            found = of(workloads)
            milliseconds.setdefault(name, {})[bits] = 1e3 * sum(t.seconds / b for t, b in found) / calls
            spreads.setdefault(name, {})[bits] = 1e3 * sum(t.spread / b for t, b in found) / calls
            millijoules.setdefault(name, {})[bits] = 1e3 * sum((t.joules or 0.0) / b for t, b in found) / calls
    others = of(work.others)
    energy = None
    if timings and all(timing.joules is not None for timing in timings.values()):
        energy = EnergyTable(millijoules, overhead_mj=1e3 * sum((t.joules or 0.0) / b for t, b in others))
    return LatencyTable(
        milliseconds,
        overhead_ms=1e3 * sum(t.seconds / b for t, b in others),
        device=device,
        energy=energy,
        spread_ms=spreads,
    )

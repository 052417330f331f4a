"""The rounds in which workloads are measured: interleaved, warmed up, repeated, and never lost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from mpq_plugins import registry
from mpq_plugins.errors import CostError, PluginError
from mpq_plugins.hardware.device import Device
from mpq_plugins.hardware.target import Target
from mpq_plugins.hardware.workload import Workload
from mpq_plugins.latency.clock import Timing
from mpq_plugins.latency.timing_store import TimingStore
from mpq_plugins.terminal.progress import track

ROUNDS = 15
WARMUP = 2


def measure_workloads(
    target: Target,
    workloads: Iterable[Workload],
    store: TimingStore,
    *,
    rounds: int = ROUNDS,
    warmup: int = WARMUP,
    again: bool = False,
    progress: bool | None = None,
) -> Mapping[Workload, Timing]:
    """Time every workload by the hook ``mpq_measure_latency``; the median of ``rounds`` samples each.

    A round takes one sample of every workload, in a new random order, so that a machine that slows down
    does so for all of them. Samples of the first ``warmup`` rounds are thrown away. What ``store`` has
    already is not measured again, and it is saved after every round and when the rounds are broken
    off, so that the next call goes on from there. again: measure all anew.

    Workloads are those that the device really runs (``Device.as_run``); a target that nobody describes
    runs each as it is. Raises CostError where no plug-in measures a workload, and PluginError, naming
    it, where what comes back is no positive time.
    """
    if rounds < 1 or warmup < 0:
        raise CostError(f"at least one round, and no negative number of warm-up rounds; got {rounds} and {warmup}")
    wanted = list(dict.fromkeys(workloads))
    if again:
        store.forget(wanted)
    if store.device.modelled:
        rounds, warmup = 1, 0
    missing = [workload for workload in wanted if store.samples(workload) < rounds]
    turns = max((rounds - store.samples(workload) for workload in missing), default=0)
    order = np.random.default_rng(len(store.seconds))
    schedule = range(-warmup, turns) if missing else range(0)
    try:
        for turn in track(schedule, f"measuring {len(missing)} workloads on {target.name}", progress):
            for index in order.permutation(len(missing)):
                workload = missing[index]
                if store.samples(workload) < rounds:
                    seconds = sample(target, workload)
                    if turn >= 0:
                        store.add(workload, seconds, joules_of(store.device, workload))
            if turn >= 0:
                store.save()
    except BaseException:
        store.save()
        raise
    timings = store.timings()
    return {workload: timings[workload] for workload in wanted}


def sample(target: Target, workload: Workload) -> float:
    """Seconds of one call, by the hook. Raises CostError where no plug-in answers, PluginError for no time."""
    try:
        seconds = registry.host().measure_latency(target, workload)
    except PluginError as error:
        raise PluginError(f"{workload} on target {target.name!r}: {error}") from error
    if seconds is None:
        raise CostError(
            f"no plug-in measures {workload} on target {target.name!r}; register one with the hook "
            "mpq_measure_latency, or give the times as a LatencyTable"
        )
    return seconds


def joules_of(device: Device, workload: Workload) -> float | None:
    """Joules of one call, where the device tells; raises CostError for what is no energy."""
    joules = None if device.energy is None else device.energy(workload)
    if joules is not None and not 0 < joules < float("inf"):
        raise CostError(f"{workload} on target {device.target!r}: the device reports an energy of {joules} J")
    return joules

"""How long a call takes on this machine."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mpq_plugins.errors import CostError

SHORTEST = 20e-6
"""Seconds that a burst of calls should last, so that reading the clock does not count."""
SAMPLE = 1e-3
"""Seconds that the bursts of one sample last together, if nothing interrupts them."""
BURSTS = (5, 51)
MOST_CALLS = 10_000


@dataclass(frozen=True)
class Timing:
    """The median of several samples. spread: half of the range of their middle half; both in seconds.

    joules: energy of one call, None where the device does not tell.

    >>> Timing.of([1.0, 2.0, 3.0, 4.0, 100.0])
    Timing(seconds=3.0, spread=1.0, samples=5, joules=None)
    """

    seconds: float
    spread: float
    samples: int
    joules: float | None = None

    @classmethod
    def of(cls, seconds: Sequence[float], joules: Sequence[float] = ()) -> Timing:
        """The timing of samples. Raises CostError without one."""
        if not seconds:
            raise CostError("a timing needs at least one sample")
        low, high = np.percentile(seconds, (25, 75))
        energy = statistics.median(joules) if joules else None
        return cls(float(statistics.median(seconds)), float(high - low) / 2, len(seconds), energy)

    def __str__(self) -> str:
        return f"{1e3 * self.seconds:.4g} ms +- {1e3 * self.spread:.2g}"


def seconds_per_call(call: Callable[[], object], shortest: float = SHORTEST) -> float:
    """Seconds of one call: the median of 5 to 51 short bursts of calls.

    Where other processes want the processor too, they take it for milliseconds at a time: that spoils
    a burst or two, and not the median. The first call is not counted.
    """
    call()
    calls = 1
    while (elapsed := _burst(call, calls)) < shortest and calls < MOST_CALLS:
        calls = min(MOST_CALLS, max(2 * calls, int(1.2 * calls * shortest / max(elapsed, 1e-9))))
    count = int(min(BURSTS[1], max(BURSTS[0], SAMPLE / max(elapsed, 1e-9))))
    return statistics.median(_burst(call, calls) for _ in range(count)) / calls


def _burst(call: Callable[[], object], calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        call()
    return time.perf_counter() - start


def time_in_turns(calls: Mapping[str, Callable[[], object]], rounds: int = 15, warmup: int = 2) -> dict[str, Timing]:
    """Time several calls in interleaved rounds, so that a machine that slows down does so for all of them.

    >>> time_in_turns({"nothing": lambda: None}, rounds=3)["nothing"].samples
    3
    """
    samples: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(warmup + rounds):
        for name, call in calls.items():
            seconds = seconds_per_call(call)
            if turn >= warmup:
                samples[name].append(seconds)
    return {name: Timing.of(values) for name, values in samples.items()}

"""Schedules: what a training prescribes at a point of its progress; plain functions of numbers.

Lengths are in steps or in shares of the search, so that a schedule that a paper states in epochs also
serves a search of one or two passes over the data.
"""

from __future__ import annotations

import math

from mpq_plugins.training.method import Progress


def linear(fraction: float, start: float, end: float, until: float = 1.0) -> float:
    """From ``start`` to ``end`` in a straight line while ``fraction`` goes from 0 to ``until``, then ``end``.

    >>> linear(0.25, 0.01, 1.0, until=0.5), linear(0.9, 0.01, 1.0, until=0.5)
    (0.505, 1.0)
    """
    done = 1.0 if fraction >= until else fraction / until
    return start + (end - start) * done


def geometric(fraction: float, start: float, end: float, until: float = 1.0) -> float:
    """From ``start`` to ``end``, both positive, by equal factors while ``fraction`` goes from 0 to ``until``.

    >>> round(geometric(0.5, 1.0, 0.25), 6)
    0.5
    """
    return math.exp(linear(fraction, math.log(start), math.log(end), until))


def staircase(stage: int, stages: int) -> float:
    """How far a target has risen in its ``stage``-th of ``stages`` equal rises: 0, ..., 1, and 1 from then on.

    >>> [round(4 + 4 * staircase(stage, 4), 3) for stage in range(6)]
    [4.0, 5.333, 6.667, 8.0, 8.0, 8.0]
    """
    return 1.0 if stages < 2 else min(stage, stages - 1) / (stages - 1)


def rising_rate(start: float, final: float, rise: float) -> float:
    """The compression rate to reach when the target has risen by ``rise``, 0 .. 1; never more than ``final``.

    >>> rising_rate(4.0, 8.0, 0.5), rising_rate(4.0, 2.0, 0.0)
    (6.0, 2.0)
    """
    low = min(start, final)
    return low + (final - low) * rise


def cyclic_temperature(step: int, cycle_steps: float, drops: int, per_drop: float, floor: float) -> float:
    """Falls by a factor exp(-per_drop), ``drops`` times in each cycle, down to ``floor``; 1 where a cycle begins.

    HMQ (2007.09952, released code) lowers it 25 times an epoch in cycles of 5 epochs, by 0.01, to 0.5.

    >>> [round(cyclic_temperature(epoch * 5005, 5 * 5005, 125, 0.01, 0.5), 4) for epoch in range(6)]
    [1.0, 0.7788, 0.6065, 0.5, 0.5, 1.0]
    """
    spacing = round(cycle_steps / drops) or cycle_steps / drops
    return max(floor, math.exp(-per_drop * round((step % cycle_steps) / spacing)))


def share_is_done(progress: Progress, share: float) -> bool:
    """Whether the first ``share`` of the search lies behind.

    >>> share_is_done(Progress(60, 100, 10), 0.6), share_is_done(Progress(59, 100, 10), 0.6)
    (True, False)
    """
    return progress.step >= round(share * max(1, progress.steps))


def share_of(progress: Progress, share: float, begin: float = 0.0) -> float:
    """How much of the part of the search from ``begin`` on, ``share`` long, is done: 0 .. 1.

    >>> share_of(Progress(30, 100, 10), 0.6), share_of(Progress(30, 100, 10), 0.4, begin=0.1)
    (0.5, 0.5)
    """
    done = progress.step / max(1, progress.steps) - begin
    return min(1.0, max(0.0, round(done / share, 12))) if share > 0 else 1.0


def brisk_rate(progress: Progress, share: float, rate: float, way: float, most: float) -> float:
    """``rate``; in a search so short that its ``share`` does not suffice for ``way``, what does, at most ``most``.

    >>> brisk_rate(Progress(0, 1000, 100), 0.5, 0.02, 6.0, 0.5), brisk_rate(Progress(0, 60, 60), 0.5, 0.02, 6.0, 0.5)
    (0.02, 0.2)
    """
    return max(rate, min(most, way / max(1.0, share * progress.steps)))

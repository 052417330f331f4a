"""Which of several steps a weight gets: each candidate rated by the error that feedback leaves, many at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mpq_plugins.errors import GridError
from mpq_plugins.grid import Grid
from mpq_plugins.rounding.factor import Factor, check_finite
from mpq_plugins.rounding.levels import Levels
from mpq_plugins.rounding.moments.layer_moments import Array, by_group
from mpq_plugins.rounding.search import feedback_errors, search_codes

_TOGETHER = 2**22
"""Elements of a weight, over all grids, that are searched side by side."""
CLOSE = 1.25
"""Ratio of errors after feedback within which descent can turn the order of two steps for a whole tensor."""


@dataclass(frozen=True)
class Kind:
    """Candidate steps of a bit-width, each one number or one per output channel."""

    bits: int
    steps: Sequence[ArrayLike]
    per_channel: bool = False
    narrow: bool = False

    @property
    def high(self) -> float:
        """The largest code."""
        return float(2 ** (self.bits - 1) - 1)

    @property
    def low(self) -> float:
        """The smallest code."""
        return -self.high - (not self.narrow)

    def by_row(self, rows: int) -> Array:
        """Steps [candidates, rows]. Raises GridError where one grid for the tensor has several steps."""
        found = np.stack([np.broadcast_to(np.asarray(s, dtype=np.float64), rows) for s in self.steps])
        if not self.per_channel and np.ptp(found, axis=1).any():
            several = sorted(set(found[np.ptp(found, axis=1).argmax()].tolist()))
            raise GridError(f"one grid for the tensor takes one exponent (one step), not one per channel: {several}")
        return found


def choose_each(
    target: ArrayLike,
    factor: Factor,
    kinds: Sequence[Kind],
    row_weights: ArrayLike | None = None,
    sweeps: int = 2,
) -> Iterator[tuple[Grid, Array]]:
    """For each kind its best grid (axis 0 if per channel), and the target [out, in] rounded onto it, float64.

    row_weights: importance of each output channel, [out], where one grid serves them all.
    """
    weight = np.asarray(target, dtype=np.float64)
    check_finite("weight", weight)
    check_finite("importance of rows", np.ones(1) if row_weights is None else np.asarray(row_weights))
    candidates = max((len(kind.steps) for kind in kinds), default=1)
    together = max(1, _TOGETHER // max(1, weight.size * candidates))
    importance = np.ones(len(weight)) if row_weights is None else np.asarray(row_weights, dtype=np.float64)
    for start in range(0, len(kinds), together):
        yield from _chosen(weight, factor, kinds[start : start + together], importance, sweeps)


def _chosen(
    weight: Array, factor: Factor, kinds: Sequence[Kind], importance: Array, sweeps: int
) -> Iterator[tuple[Grid, Array]]:
    groups, out = factor.shape[0], len(weight)
    rows = by_group(weight, groups)
    offered = [kind.by_row(out) for kind in kinds]
    of_kind = np.repeat(np.arange(len(kinds)), [len(steps) for steps in offered])
    steps = np.concatenate(offered)
    rated = feedback_errors(rows, factor, *_stacked(steps, [kinds[k] for k in of_kind.tolist()], groups))
    errors = rated.reshape(groups, len(steps), -1).swapaxes(0, 1).reshape(len(steps), out)
    finalists: list[Array] = []  # steps [out] to search in full, one or more of each kind
    owners: list[int] = []
    for index, kind in enumerate(kinds):
        own, mine = steps[of_kind == index], errors[of_kind == index]
        if kind.per_channel:
            finalists.append(own[mine.argmin(axis=0), np.arange(out)])
            owners.append(index)
            continue
        total = mine @ importance
        close = np.flatnonzero(total <= total.min() * CLOSE) if sweeps else [total.argmin()]
        finalists.extend(own[k] for k in close)
        owners.extend([index] * len(close))
    levels, of = _stacked(np.stack(finalists), [kinds[k] for k in owners], groups)
    codes = search_codes(rows, factor, levels, sweeps, of=of)
    for index, kind in enumerate(kinds):
        found = []
        for place in (i for i, owner in enumerate(owners) if owner == index):
            part = slice(place * rows.shape[1], (place + 1) * rows.shape[1])
            found.append((finalists[place], codes[:, part] * levels.step[:, part, None]))
        best = 0
        if len(found) > 1:
            left = [factor.errors_of_rows(values - rows).reshape(-1) @ importance for _, values in found]
            best = int(np.argmin(left))
        step, values = found[best]
        grid = Grid(kind.bits, tuple(step if kind.per_channel else step[:1]), True, kind.narrow, _axis(kind))
        yield grid, values.reshape(weight.shape)


def _axis(kind: Kind) -> int | None:
    return 0 if kind.per_channel else None


def levels_of(step: Array, kind: Kind) -> Levels:
    """Levels of a kind where each row has its step, [groups, rows]."""
    return Levels(step, np.full(step.shape, kind.low), np.full(step.shape, kind.high))


def _stacked(steps: Array, kinds: Sequence[Kind], groups: int) -> tuple[Levels, NDArray[np.intp]]:
    """Levels of steps [candidates, out], candidate after candidate in each group, and the row that each is for."""
    count = steps.shape[1] // groups
    step = np.ascontiguousarray(steps.reshape(len(steps), groups, count).swapaxes(0, 1)).reshape(groups, -1)
    low, high = (
        np.broadcast_to(np.repeat([getattr(kind, name) for kind in kinds], count), step.shape)
        for name in ("low", "high")
    )
    return Levels(step, low, high), np.tile(np.arange(count), len(steps))

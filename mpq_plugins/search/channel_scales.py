"""The factor of every class of channels with which activations lose least on grids that all channels share.

A tensor has one threshold, a power of two, and its channels have ranges of their own: a channel that fills a quarter of
the grid has two bits fewer than one that fills it. A factor on a channel is a threshold of its own. One class can go
through several tensors (a sum and what it adds): its factor is the one of least predicted loss over all of them, and
the thresholds of tensors move where that loses less.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.search.channel_classes import KEPT

FINENESS = 4
"""Factors tried in an octave: the best one is at most a twelfth off."""
OCTAVES = 4
"""How far up and down a factor may go."""
BELOW, ABOVE = 5, 1
"""Octaves of thresholds, from the largest value of a channel, of which errors are measured."""
_SWEEPS = 4
_TIE = 1e-9
"""Of the loss, so that channels that lose nothing by a factor, as those without a value, keep one."""

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Losses:
    """Of the channels of a tensor, the loss by threshold.

    group: tensors of one group share a threshold. classes: of the channels, [channels]. first: for each channel the
    index, in FINENESS-ths of an octave, of the lowest threshold that was looked at. table: loss [channels, thresholds]
    from there on.
    """

    group: str
    classes: NDArray[np.int64]
    first: NDArray[np.int64]
    table: Array

    def at(self, threshold: int, shifts: NDArray[np.int64]) -> Array:
        """The loss of each channel for each factor, [channels, shifts].

        threshold: of the tensor, an octave. shifts: the factors' indices. A finer threshold than all loses what the
        finest does; a coarser one four times as much an octave, as without clipping.
        """
        places = threshold * FINENESS - shifts[None, :] - self.first[:, None]
        last = self.table.shape[1] - 1
        found = np.take_along_axis(self.table, np.clip(places, 0, last), axis=1)
        return np.asarray(found * 4.0 ** (np.maximum(places - last, 0) / FINENESS))


def errors_by_threshold(values: NDArray[np.float32], bits: int, signed: bool) -> tuple[NDArray[np.int64], Array]:
    """Mean squared error of each channel [channels, n] by threshold: index of the first one, and the table, as Losses.

    >>> first, table = errors_by_threshold(np.float32([[0.25, 0.5, 0.75]]), 2, False)
    >>> threshold = 0 - first[0]  # 2**0, whose codes are 0, 0.25, 0.5 and 0.75
    >>> float(table[0, threshold]), bool(table[0, threshold - FINENESS] > 0)
    (0.0, True)
    """
    largest = np.abs(values).max(axis=1, initial=0.0).astype(np.float64)
    top = np.ceil(np.log2(np.where(largest > 0, largest, 1.0)) * FINENESS).astype(np.int64)
    first = top - BELOW * FINENESS
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    table = np.empty((len(values), (BELOW + ABOVE) * FINENESS + 1))
    for index in range(table.shape[1]):
        step = np.exp2((first + index) / FINENESS - (bits - signed)).astype(np.float32)[:, None]
        error = np.clip(np.rint(values / step), low, high) * step - values
        table[:, index] = np.einsum("cn,cn->c", error, error, dtype=np.float64) / max(values.shape[1], 1)
    return first, table


def chosen_scales(tensors: Sequence[Losses], classes: int, most: Array) -> Array:
    """The factor of each class, [classes], 1 for KEPT; a class of no tensor keeps 1.

    most: the largest factor that each class may have, [classes]; 1 or more.
    """
    shifts = np.arange(-OCTAVES * FINENESS, OCTAVES * FINENESS + 1)
    allowed = shifts[None, :] <= np.floor(np.log2(most) * FINENESS + 1e-9)[:, None]
    allowed[KEPT] = shifts == 0
    members: dict[str, list[Losses]] = {}
    for tensor in tensors:
        members.setdefault(tensor.group, []).append(tensor)

    def of_group(group: str, threshold: int) -> Array:
        total = np.zeros((classes, len(shifts)))
        for tensor in members[group]:
            np.add.at(total, tensor.classes, tensor.at(threshold, shifts))
        return total

    at = {group: _alone(found) for group, found in members.items()}
    total = sum((of_group(group, threshold) for group, threshold in at.items()), np.zeros((classes, len(shifts))))
    for _ in range(_SWEEPS):
        moved = False
        for group in members:
            own = of_group(group, at[group])
            for threshold in (at[group] - 1, at[group] + 1):
                other = total - own + of_group(group, threshold)
                if _least(other, allowed) < _least(total, allowed) * (1 - _TIE):
                    total, own, moved = other, of_group(group, threshold), True
                    at[group] = threshold
        if not moved:
            break
    tied = total + np.abs(shifts) * _TIE * total.max(initial=0.0)
    return np.asarray(np.exp2(shifts[np.where(allowed, tied, np.inf).argmin(axis=1)] / FINENESS))


def _alone(tensors: Sequence[Losses]) -> int:
    """The threshold of least loss without any factor, an octave."""
    none = np.zeros(1, dtype=np.int64)
    firsts = np.concatenate([tensor.first for tensor in tensors])
    octaves = range(int(firsts.min()) // FINENESS, int(firsts.max()) // FINENESS + BELOW + ABOVE + 1)
    return min(octaves, key=lambda octave: sum(float(tensor.at(octave, none).sum()) for tensor in tensors))


def _least(total: Array, allowed: NDArray[np.bool_]) -> float:
    return float(np.where(allowed, total, np.inf).min(axis=1).sum())

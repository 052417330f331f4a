"""Layout: where each grid group of a bank keeps its rows, whatever the rows stand for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.errors import MPQError
from mpq_plugins.training.slot import Slot

Extent = Literal["group", "channel", "input_channel", "kernel", "element"]
"""What a row of an array stands for: a whole group; a channel with a step of its own; an input channel of a
weight; a channel and an input channel together; one element of a weight. A group without such channels, or
whose input channels nobody knows, has one row in their place."""
EXTENTS: tuple[Extent, ...] = get_args(Extent)


@dataclass(frozen=True)
class Layout:
    """The rows of groups that lie one behind the other along the first axis of every array of a bank.

    Elements lie channel by channel, so that the elements of a group, and those of a channel, are successive.

    >>> from mpq_plugins.hardware.op_support import Candidate
    >>> conv = Slot("conv", "weight", (8, 4, 3, 3), (Candidate(4, True, True),), 0, 1)
    >>> fc = Slot("fc", "weight", (10, 6), (Candidate(4, True, True),), 0, 1)
    >>> Layout((conv, fc)).counts("channel"), Layout((conv, fc)).counts("element")
    ((8, 10), (288, 60))
    """

    slots: tuple[Slot, ...]
    codes: tuple[tuple[int, int], ...] = field(init=False, repr=False, compare=False)
    """Lowest and highest code of each candidate, of the first group."""

    def __post_init__(self) -> None:
        first = self.slots[0]
        object.__setattr__(self, "codes", tuple((first.low(b), first.high(b)) for b in first.bits))

    def counts(self, extent: Extent) -> tuple[int, ...]:
        """Rows of each group."""
        return self._counts[extent]

    def total(self, extent: Extent) -> int:
        """Rows of all groups."""
        return self._totals[extent]

    def rows(self, extent: Extent, index: int) -> slice:
        """Where the rows of the group at ``index`` lie."""
        first = sum(self.counts(extent)[:index])
        return slice(first, first + self.counts(extent)[index])

    def alike(self, first: Extent, second: Extent) -> bool:
        """Whether every group has as many rows in both, and these stand for the same."""
        return self._counts[first] == self._counts[second]

    def own_shape(self, extent: Extent, index: int) -> tuple[int, ...]:
        """The shape in which one group by itself keeps such rows: [] where it has one."""
        slot = self.slots[index]
        if extent == "element":
            return slot.shape
        if extent == "group" or (extent == "channel" and slot.axis is None):
            return ()
        if extent == "input_channel" and slot.input_axis is None:
            return ()
        return (self.counts(extent)[index],)

    def view_shape(self, extent: Extent, index: int) -> tuple[int, ...]:
        """The shape in which the rows of one group broadcast against its tensor."""
        slot = self.slots[index]
        axes = {"channel": (slot.axis,), "input_channel": (slot.input_axis,), "kernel": (slot.axis, slot.input_axis)}
        wanted = [axis % len(slot.shape) for axis in axes.get(extent, ()) if axis is not None]
        if not wanted:
            return ()
        return tuple(size if axis in wanted else 1 for axis, size in enumerate(slot.shape))

    def flat(self, ops: Any, index: int, tensor: Any) -> Any:
        """A tensor of the group's shape as rows of elements."""
        axis = self.slots[index].axis
        return ops.reshape(tensor if not axis else ops.move_axis(tensor, axis, 0), [-1])

    def joined(self, extent: Extent, parts: Sequence[Any]) -> NDArray[Any]:
        """The arrays of all groups, each of its own shape (and as many further axes in each), as one.

        Raises MPQError where a shape is another, naming the site.
        """
        found = []
        for index, part in enumerate(parts):
            own, values = self.own_shape(extent, index), np.asarray(part)
            if values.shape[: len(own)] != own:
                raise MPQError(
                    f"site {self.slots[index].name!r}: an array of extent {extent!r} has the shape {values.shape}, "
                    f"which does not begin with {own}"
                )
            if extent == "element":
                axis = self.slots[index].axis or 0
                found.append(np.moveaxis(values, axis, 0).reshape(-1))
            else:
                found.append(values.reshape((self.counts(extent)[index], *values.shape[len(own) :])))
        return np.concatenate(found)

    def part(self, extent: Extent, values: NDArray[Any], index: int) -> NDArray[Any]:
        """The rows of one group, in its own shape; elements stay one row."""
        rows = values[self.rows(extent, index)]
        return rows if extent == "element" else rows.reshape((*self.own_shape(extent, index), *values.shape[1:]))

    @cached_property
    def kernel_index(self) -> dict[str, NDArray[np.int64]]:
        """For every kernel, its channel and its input channel among those of all groups."""
        found: dict[str, list[NDArray[np.int64]]] = {"channel": [], "input_channel": []}
        for index in range(len(self.slots)):
            shape = self.view_shape("kernel", index)
            for extent, axes in found.items():
                rows = np.arange(self.total(extent))[self.rows(extent, index)]  # type: ignore[arg-type]
                view = rows.reshape(self.view_shape(extent, index))  # type: ignore[arg-type]
                axes.append(np.broadcast_to(view, shape).reshape(-1))
        return {extent: np.concatenate(parts).astype(np.int64) for extent, parts in found.items()}

    @cached_property
    def channel_elements(self) -> NDArray[np.int64]:
        """Elements of every channel."""
        sizes = [slot.elements // max(1, slot.channels or 1) for slot in self.slots]
        return np.repeat(sizes, self.counts("channel")).astype(np.int64)

    @cached_property
    def _counts(self) -> dict[str, tuple[int, ...]]:
        return {extent: tuple(_rows(slot, extent) for slot in self.slots) for extent in EXTENTS}

    @cached_property
    def _totals(self) -> dict[str, int]:
        return {extent: sum(counts) for extent, counts in self._counts.items()}


def _rows(slot: Slot, extent: Extent) -> int:
    channels = slot.channels or 1
    inputs = 1 if slot.input_axis is None else slot.shape[slot.input_axis]
    rows = {"group": 1, "channel": channels, "input_channel": inputs, "kernel": channels * inputs}
    return rows.get(extent, math.prod(slot.shape))

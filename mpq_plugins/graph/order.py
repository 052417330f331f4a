"""How a tensor lies in a graph of another layout: its axes in their new order, and the columns of flattened images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.graph.node import Batch, Layout, Node, Shape

Axes = tuple[int, ...]
"""Axes of a tensor in their new order: the new axis i is the old axis ``axes[i]``."""


@dataclass(frozen=True)
class Order:
    """How a tensor lies in the new graph. columns: of its last axis, the old index of each; None as they were."""

    axes: Axes
    columns: NDArray[np.int64] | None = None

    def of(self, array: NDArray[Any]) -> NDArray[Any]:
        """An array as the old graph has it, as the new one has it."""
        moved: NDArray[Any] = array.transpose(self.axes)
        return moved if self.columns is None else moved[..., self.columns]


def image_axes(rank: int, layout: Layout) -> Axes:
    """The axes of an image of the other layout, in this one's order.

    >>> image_axes(4, "NHWC"), image_axes(4, "NCHW")
    ((0, 2, 3, 1), (0, 3, 1, 2))
    """
    if layout == "NHWC":
        return (0, *range(2, rank), 1)
    return (0, rank - 1, *range(1, rank - 1))


def as_is(node: Node) -> Axes:
    """The axes of a node's output in the order that they have."""
    return tuple(range(len(node.shape)))


def by_axes(values: Sequence[Any], axes: Axes) -> tuple[Any, ...]:
    """What a tensor has one of for each axis, in their new order."""
    return tuple(values[axis] for axis in axes)


def keeps_elements(before: Shape, axes: Axes, after: Shape, out: Axes) -> bool:
    """Whether a reshape of the moved tensor gives what moving the reshaped one gives, at a batch of two."""
    sizes = [tuple(2 * s.times if isinstance(s, Batch) else s for s in shape) for shape in (before, after)]
    index = np.arange(np.prod(sizes[0]))
    moved = index.reshape(sizes[0]).transpose(axes), index.reshape(sizes[1]).transpose(out)
    return np.array_equal(moved[0].ravel(), moved[1].ravel())

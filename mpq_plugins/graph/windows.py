"""Windows over images and signals: padding, and how many elements each window counts."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.graph.node import Batch, Layout, Node, Shape
from mpq_plugins.graph.runner import Sides, Sizes


def same_padding(size: int, kernel: int, stride: int, dilation: int = 1) -> tuple[int, int]:
    """TensorFlow's "same" padding of one axis: before and after, the odd one after.

    >>> same_padding(5, 3, 2), same_padding(6, 3, 2)
    ((1, 1), (0, 1))
    """
    reach = dilation * (kernel - 1) + 1
    total = max((-(-size // stride) - 1) * stride + reach - size, 0)
    return total // 2, total - total // 2


def inside(shape: Shape, layout: Layout) -> Sizes:
    """Rows and columns of an activation (columns of a signal), from its whole shape."""
    return tuple(int(size) for size in (shape[2:] if layout == "NCHW" else shape[1:-1]) if not isinstance(size, Batch))


def with_overhang(node: Node) -> Sides:
    """The padding of a pooling, and what its last window needs beyond it (attrs: overhang)."""
    padding: Sides = node.attrs["padding"]
    overhang = node.attrs.get("overhang", (0,) * len(padding))
    return tuple((before, after + more) for (before, after), more in zip(padding, overhang, strict=True))


def window_counts(node: Node, sizes: Sizes) -> NDArray[np.float64]:
    """How many elements each window of an average counts, [(rows,) columns] of the output.

    sizes: rows and columns of the input. What lies in the overhang never counts, the padding where the node says so.
    """
    a = node.attrs
    counts = np.ones(())
    overhang = a.get("overhang", (0,) * len(sizes))
    for size, kernel, stride, (before, after), more in zip(
        sizes, a["kernel"], a["stride"], a["padding"], overhang, strict=True
    ):
        starts = np.arange(0, before + size + after + more - kernel + 1, stride)
        low, high = (0, before + size + after) if a["counts_padding"] else (before, before + size)
        along = np.minimum(starts + kernel, high) - np.maximum(starts, low)
        counts = counts[..., None] * along
    return np.asarray(counts)


def divisor(run: Any, node: Node, x: Any) -> Any:
    """What the sums of an average pooling of x are divided by: a number, or a tensor that broadcasts."""
    counts = window_counts(node, inside(tuple(x.shape), run.layout))
    if counts.size and (counts == counts.flat[0]).all():
        return float(counts.flat[0])
    counts = counts[None, None] if run.layout == "NCHW" else counts[None, ..., None]
    return run.to_precision(run.tensor(counts), run.precision_of(x))

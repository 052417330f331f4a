"""A layer's products in float64, by NumPy alone: what is a sum of exact products is the same in every framework."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.graph.node import Batch, Layout, Node
from mpq_plugins.search.columns import columns

Array = NDArray[np.float64]
WINDOWS = 2**17
"""Float64 elements of windows that are multiplied at once: 1 MB, which stays in the cache."""


def multiplied(node: Node, rows: Array, x: Array, layout: Layout) -> Array:
    """The output of a layer without its bias. rows: its weight in matrix form. x: what it reads."""
    if node.op == "linear":
        return np.asarray(x @ rows.T)
    along = node.shape[2:] if layout == "NCHW" else node.shape[1:-1]
    sizes = [n for n in along if not isinstance(n, Batch)]
    block = max(1, WINDOWS // max(1, rows.shape[1] * int(node.attrs["groups"]) * math.prod(sizes)))
    parts = [_product(node, rows, x[start : start + block], layout) for start in range(0, len(x), block)]
    whole = np.concatenate(parts, axis=1)  # [out, samples, positions]
    if layout == "NCHW":
        return np.ascontiguousarray(whole.swapaxes(0, 1)).reshape(len(x), len(rows), *sizes)
    return np.ascontiguousarray(np.moveaxis(whole, 0, -1)).reshape(len(x), *sizes, len(rows))


def _product(node: Node, rows: Array, x: Array, layout: Layout) -> Array:
    read = columns(node, x, layout)
    groups = len(read)
    by_group = rows.reshape(groups, -1, rows.shape[1])
    if by_group.shape[1] == 1:  # one row each, for which a matrix product is slow
        product = np.einsum("gk,gkp->gp", by_group[:, 0], read)
    else:
        product = (by_group @ read).reshape(len(rows), -1)
    return np.asarray(product).reshape(len(rows), len(x), -1)

"""A layer's products in float64, by NumPy alone: what is a sum of exact products is the same in every framework."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.graph.node import Batch, Layout, Node, Weight
from mpq_plugins.rounding.row_parts import row_parts
from mpq_plugins.search.columns import columns

Array = NDArray[np.float64]
WINDOWS = 2**17
"""Float64 elements of windows that are multiplied at once: 1 MB, which stays in the cache."""
MANY = 64
"""Positions of a sample from which it is worth a matrix product of its own."""


def multiplied(node: Node, rows: Weight, x: Array, layout: Layout) -> Array:
    """The output of a layer without its bias. rows: its weight in matrix form. x: what it reads."""
    if node.op == "linear":
        parts = [x @ rows[part].astype(np.float64, copy=False).T for part in row_parts((1, *rows.shape))]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1)
    along = node.shape[2:] if layout == "NCHW" else node.shape[1:-1]
    sizes = [n for n in along if not isinstance(n, Batch)]
    positions = math.prod(sizes)
    if _pointwise(node):
        if layout == "NHWC":
            return np.asarray(x.reshape(-1, x.shape[-1]) @ rows.T).reshape(len(x), *sizes, len(rows))
        if positions >= MANY:
            return np.asarray(np.matmul(rows, x.reshape(*x.shape[:2], -1))).reshape(len(x), len(rows), *sizes)
    block = max(1, WINDOWS // max(1, rows.shape[1] * int(node.attrs["groups"]) * positions))
    by_sample = (len(x), len(rows), positions) if layout == "NCHW" else (len(x), positions, len(rows))
    whole = np.empty(by_sample, np.float64)
    places = whole if layout == "NCHW" else whole.swapaxes(1, 2)
    for start in range(0, len(x), block):
        part = slice(start, start + block)
        places[part] = _product(node, rows, x[part], layout).swapaxes(0, 1)
    return whole.reshape(len(x), len(rows), *sizes) if layout == "NCHW" else whole.reshape(len(x), *sizes, len(rows))


def _pointwise(node: Node) -> bool:
    """Whether a layer reads one position for each that it writes, all channels of it."""
    assert node.weight is not None
    a = node.attrs
    moved = any(n != 1 for n in (*node.weight.shape[2:], *a["stride"])) or any(n for pair in a["padding"] for n in pair)
    return not moved and a["groups"] == 1 and not node.op.startswith("conv_transpose")


def _product(node: Node, rows: Weight, x: Array, layout: Layout) -> Array:
    """[out, samples, positions]."""
    read = columns(node, x, layout)
    groups = len(read)
    by_group = rows.reshape(groups, -1, rows.shape[1])
    if by_group.shape[1] == 1:  # one row each, for which a matrix product is slow
        product = np.einsum("gk,gkp->gp", by_group[:, 0], read)
    else:
        product = (by_group @ read).reshape(len(rows), -1)
    return np.asarray(product).reshape(len(rows), len(x), -1)

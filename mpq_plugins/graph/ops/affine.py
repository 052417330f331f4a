"""scale * x + offset (attrs): what sums and products with constants are that no layer takes in.

Two numbers are a function of one element. Arrays along ``axis`` are a layer wherever there are grids
(``graph.scaling``), and arithmetic in float only.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.graph.node import Node
from mpq_plugins.graph.op import Op
from mpq_plugins.graph.runner import Runner, Tensor


def factors(node: Node) -> tuple[float | NDArray[np.float64], float | NDArray[np.float64]]:
    """The scale and the offset, shaped to broadcast against the node's output."""
    shape = (-1, *(1,) * (len(node.shape) - 1 - node.attrs["axis"])) if "axis" in node.attrs else ()
    scale, offset = (
        float(value) if np.ndim(value) == 0 else np.asarray(value, np.float64).reshape(shape)
        for value in (node.attrs["scale"], node.attrs["offset"])
    )
    return scale, offset


def affine(run: Runner, node: Node, x: Tensor) -> Tensor:
    """The product first; what changes nothing is left out."""
    scale, offset = (
        value if isinstance(value, float) else run.tensor(value, run.precision_of(x)) for value in factors(node)
    )
    scaled = x if isinstance(scale, float) and scale == 1.0 else x * scale
    return scaled if isinstance(offset, float) and offset == 0.0 else scaled + offset


def negative(node: Node, signs: Sequence[bool]) -> bool:
    """Below zero where the offset is, where the sign turns, and where a positive factor finds it."""
    return bool(np.any(node.attrs["offset"] < 0) or np.any(node.attrs["scale"] < 0) or any(signs))


OPS = (Op("affine", affine, table=True, negative=negative, attrs=("scale", "offset"), axes={"axis": "one"}),)

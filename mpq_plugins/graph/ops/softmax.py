"""Exponentials of scale * x + mask over their sum along an axis (attrs: axis, scale; mask, where there is one).

On grids it is integer arithmetic, ``graph.integer_softmax``, wherever it runs, and a mask only hides (``graph.masks``).
"""

from __future__ import annotations

import numpy as np

from mpq_plugins.graph.node import Node
from mpq_plugins.graph.op import Op, never
from mpq_plugins.graph.runner import Runner, Tensor


def softmax(run: Runner, node: Node, x: Tensor) -> Tensor:
    """The product first; what changes nothing is left out."""
    scale, mask = node.attrs.get("scale", 1.0), node.attrs.get("mask")
    x = x if scale == 1.0 else x * scale
    if mask is not None:  # of a graph an array, of a framework's own module one of its tensors
        x = x + (run.tensor(mask, run.precision_of(x)) if isinstance(mask, np.ndarray) else mask)
    return run.softmax(x, node.attrs["axis"])


OPS = (
    Op(
        "softmax",
        softmax,
        negative=never,
        axes={"axis": "one"},
        integers=lambda steps, node: steps.softmax(node, node.attrs["axis"]),
    ),
)

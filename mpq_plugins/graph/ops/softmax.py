"""Exponentials of scale * x + mask over their sum along an axis (attrs: axis, scale; mask, where there is a constant).

On grids it is integer arithmetic, ``graph.integer_softmax``, wherever it runs, and a mask only hides (``graph.masks``).
A mask that the model computes is a second input, and such a softmax a float part: numbers that are added, or, with the
attr shows, truth values, of which those that do not show an element add the attr hides. A row of which minus infinity
hides all elements is zeros, as frameworks' attention has it.
"""

from __future__ import annotations

import math

import numpy as np

from mpq_plugins.graph.node import Node
from mpq_plugins.graph.op import Op, never
from mpq_plugins.graph.runner import Runner, Tensor


def softmax(run: Runner, node: Node, x: Tensor, computed: Tensor = None) -> Tensor:
    """The product first; what changes nothing is left out."""
    scale, mask = node.attrs.get("scale", 1.0), node.attrs.get("mask")
    x = x if scale == 1.0 else x * scale
    if mask is not None:  # of a graph an array, of a framework's own module one of its tensors
        x = x + (run.tensor(mask, run.precision_of(x)) if isinstance(mask, np.ndarray) else mask)
    axis = node.attrs["axis"]
    if computed is None:
        return run.softmax(x, axis)
    x = _masked(run, node, x, computed)
    if math.isfinite(hides(node)):
        return run.softmax(x, axis)
    seen = run.largest(x, axis) > -math.inf
    return run.softmax(run.where(seen, x, 0.0), axis) * run.cast(seen, x)


def hides(node: Node) -> float:
    """What a computed mask adds to the scores that it hides."""
    return float(node.attrs.get("hides", -math.inf))


def _masked(run: Runner, node: Node, x: Tensor, mask: Tensor) -> Tensor:
    shows = node.attrs.get("shows")
    mask = run.cast(mask, x)
    if shows is None:
        return x + mask
    hidden = 1.0 - mask if shows else mask
    return x + hidden * hides(node) if math.isfinite(hides(node)) else run.where(hidden > 0, -math.inf, x)


OPS = (
    Op(
        "softmax",
        softmax,
        negative=never,
        axes={"axis": "one"},
        integers=lambda steps, node: steps.softmax(node, node.attrs["axis"]),
    ),
)

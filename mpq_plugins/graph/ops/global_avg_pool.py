"""The mean over whole axes (attrs: axes, keepdims)."""

from __future__ import annotations

import math

from mpq_plugins.graph.node import Node
from mpq_plugins.graph.op import Op
from mpq_plugins.graph.runner import Runner, Tensor


def elements(node: Node, x: Tensor) -> int:
    """How many elements each mean is of."""
    return math.prod(int(x.shape[axis]) for axis in node.attrs["axes"])


def mean(run: Runner, node: Node, x: Tensor) -> Tensor:
    """The sum over the number of elements."""
    return run.sum_over(x, node.attrs["axes"], node.attrs["keepdims"]) / float(elements(node, x))


OPS = (
    Op(
        "global_avg_pool",
        mean,
        grid="input",
        rounds=True,
        passes_scales=True,
        axes={"axes": "several"},
        integers=lambda steps, node: steps.mean(node, node.attrs["axes"]),
        spellings={"litert": ("MEAN",)},
    ),
)

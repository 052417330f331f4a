"""Zero mean and unit variance along axes (attrs: axes, neighbours; centered, or by the mean square alone; epsilon).

On grids it is integer arithmetic, ``graph.integer_norm``, wherever it runs.
"""

from __future__ import annotations

import math

from mpq_plugins.graph.node import Node
from mpq_plugins.graph.op import Op, always
from mpq_plugins.graph.runner import Runner, Tensor


def normalize(run: Runner, node: Node, x: Tensor) -> Tensor:
    """The difference from the mean over the root of the variance and epsilon."""
    axes = node.attrs["axes"]
    count = float(math.prod(int(x.shape[axis]) for axis in axes))
    if node.attrs["centered"]:
        x = x - run.sum_over(x, axes, True) / count
    return x / run.sqrt(run.sum_over(x * x, axes, True) / count + node.attrs["epsilon"])


OPS = (
    Op(
        "normalize",
        normalize,
        negative=always,
        axes={"axes": "several"},
        integers=lambda steps, node: steps.normalize(node, node.attrs["axes"]),
    ),
)

"""The mean of each window (attrs: kernel, stride, padding, overhang, counts_padding)."""

from __future__ import annotations

from mpq_plugins.graph.node import Node
from mpq_plugins.graph.op import Op
from mpq_plugins.graph.runner import Runner, Tensor
from mpq_plugins.graph.windows import divisor, with_overhang


def average(run: Runner, node: Node, x: Tensor) -> Tensor:
    """The sum of each window over the number of elements that count."""
    a = node.attrs
    return run.window_sum(x, a["kernel"], a["stride"], with_overhang(node)) / divisor(run, node, x)


OPS = (
    Op(
        "avg_pool",
        average,
        grid="input",
        rounds=True,
        images=True,
        passes_scales=True,
        integers=lambda steps, node: steps.average_pool(node),
        spellings={"litert": ("AVERAGE_POOL_2D",)},
    ),
)

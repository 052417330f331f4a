"""The largest element of each window (attrs: kernel, stride, padding, overhang, dilation)."""

from __future__ import annotations

from mpq_plugins.graph.node import Node
from mpq_plugins.graph.op import Op
from mpq_plugins.graph.runner import Runner, Tensor
from mpq_plugins.graph.windows import with_overhang


def largest(run: Runner, node: Node, x: Tensor) -> Tensor:
    """What lies outside of the input is left out."""
    a = node.attrs
    return run.max_pool(x, a["kernel"], a["stride"], with_overhang(node), a["dilation"])


OPS = (
    Op(
        "max_pool",
        largest,
        grid="input",
        images=True,
        passes_scales=True,
        integers=lambda steps, node: steps.max_pool(node),
        spellings={"litert": ("MAX_POOL_2D",)},
    ),
)

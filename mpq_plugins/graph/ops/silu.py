"""x / (1 + exp(-x)), also called swish."""

from __future__ import annotations

from mpq_plugins.graph.node import Node
from mpq_plugins.graph.op import Op, any_negative
from mpq_plugins.graph.runner import Runner, Tensor


def silu(run: Runner, node: Node, x: Tensor) -> Tensor:
    """The product of x with its sigmoid."""
    return x * run.sigmoid(x)


OPS = (
    Op(
        "silu",
        silu,
        table=True,
        negative=any_negative,
        spellings={"torch": ("nn.SiLU", "F.silu"), "keras": ("swish", "silu")},
    ),
)

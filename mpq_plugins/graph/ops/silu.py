"""x / (1 + exp(-x)), also called swish."""

from __future__ import annotations

from typing import Any

from mpq_plugins.graph.node import Node
from mpq_plugins.graph.op import Op, any_negative


def silu(run: Any, node: Node, x: Any) -> Any:
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

"""x / (1 + |x|)."""

from __future__ import annotations

from typing import Any

from mpq_plugins.graph.node import Node
from mpq_plugins.graph.op import Op, any_negative


def softsign(run: Any, node: Node, x: Any) -> Any:
    """Odd, between -1 and 1."""
    return x / (1.0 + run.abs(x))


OPS = (
    Op(
        "softsign",
        softsign,
        table=True,
        negative=any_negative,
        spellings={"torch": ("nn.Softsign", "F.softsign"), "keras": ("softsign",), "onnx": ("Softsign",)},
    ),
)

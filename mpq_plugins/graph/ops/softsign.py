"""x / (1 + |x|)."""

from __future__ import annotations

from mpq_plugins.graph.node import Node
from mpq_plugins.graph.op import Op, any_negative
from mpq_plugins.graph.runner import Runner, Tensor


def softsign(run: Runner, node: Node, x: Tensor) -> Tensor:
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

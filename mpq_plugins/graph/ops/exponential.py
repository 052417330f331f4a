"""exp(x)."""

from __future__ import annotations

from mpq_plugins.graph.node import Node
from mpq_plugins.graph.op import Op, never
from mpq_plugins.graph.runner import Runner, Tensor


def exponential(run: Runner, node: Node, x: Tensor) -> Tensor:
    """What Keras calls exponential."""
    return run.exp(x)


OPS = (
    Op(
        "exponential",
        exponential,
        table=True,
        negative=never,
        spellings={"torch": ("torch.exp", ".exp"), "keras": ("exponential",), "onnx": ("Exp",)},
    ),
)

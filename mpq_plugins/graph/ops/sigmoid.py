"""1 / (1 + exp(-x))."""

from __future__ import annotations

from mpq_plugins.graph.node import Node
from mpq_plugins.graph.op import Op, never
from mpq_plugins.graph.runner import Runner, Tensor


def sigmoid(run: Runner, node: Node, x: Tensor) -> Tensor:
    """The logistic function."""
    return run.sigmoid(x)


OPS = (
    Op(
        "sigmoid",
        sigmoid,
        table=True,
        negative=never,
        spellings={
            "torch": ("nn.Sigmoid", "torch.sigmoid", "F.sigmoid", ".sigmoid"),
            "keras": ("sigmoid",),
            "onnx": ("Sigmoid",),
        },
    ),
)

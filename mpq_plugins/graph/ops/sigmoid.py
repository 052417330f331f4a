"""1 / (1 + exp(-x))."""

from __future__ import annotations

from typing import Any

from mpq_plugins.graph.node import Node
from mpq_plugins.graph.op import Op, never


def sigmoid(run: Any, node: Node, x: Any) -> Any:
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

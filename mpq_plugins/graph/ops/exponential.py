"""exp(x)."""

from __future__ import annotations

from typing import Any

from mpq_plugins.graph.node import Node
from mpq_plugins.graph.op import Op, never


def exponential(run: Any, node: Node, x: Any) -> Any:
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

"""log(1 + exp(x))."""

from __future__ import annotations

from mpq_plugins.graph.node import Node
from mpq_plugins.graph.op import Op, never
from mpq_plugins.graph.runner import Runner, Tensor


def softplus(run: Runner, node: Node, x: Tensor) -> Tensor:
    """Computed so that large x do not overflow."""
    return run.maximum(x, 0.0) + run.log(1.0 + run.exp(-run.abs(x)))


OPS = (
    Op(
        "softplus",
        softplus,
        table=True,
        negative=never,
        spellings={"torch": ("nn.Softplus", "F.softplus"), "keras": ("softplus",), "onnx": ("Softplus",)},
    ),
)

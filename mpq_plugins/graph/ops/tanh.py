"""The hyperbolic tangent."""

from __future__ import annotations

from mpq_plugins.graph.node import Node
from mpq_plugins.graph.op import Op, any_negative
from mpq_plugins.graph.runner import Runner, Tensor


def tanh(run: Runner, node: Node, x: Tensor) -> Tensor:
    """Odd, between -1 and 1."""
    return run.tanh(x)


OPS = (
    Op(
        "tanh",
        tanh,
        table=True,
        negative=any_negative,
        spellings={"torch": ("nn.Tanh", "torch.tanh", "F.tanh", ".tanh"), "keras": ("tanh",), "onnx": ("Tanh",)},
    ),
)

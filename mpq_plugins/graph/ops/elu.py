"""x above zero, alpha * (exp(x) - 1) below (attrs: alpha)."""

from __future__ import annotations

from mpq_plugins.graph.node import Node
from mpq_plugins.graph.op import Op, any_negative
from mpq_plugins.graph.runner import Runner, Tensor


def elu(run: Runner, node: Node, x: Tensor) -> Tensor:
    """Smooth at zero where alpha is one."""
    below = node.attrs.get("alpha", 1.0) * (run.exp(run.minimum(x, 0.0)) - 1.0)
    return run.where(x > 0, x, below)


OPS = (
    Op(
        "elu",
        elu,
        table=True,
        negative=any_negative,
        spellings={"torch": ("nn.ELU", "F.elu"), "keras": ("elu",), "onnx": ("Elu",)},
        attrs=("alpha",),
        onnx=lambda attrs: {"alpha": float(attrs.get("alpha", 1.0))},
    ),
)

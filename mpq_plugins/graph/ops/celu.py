"""x above zero, alpha * (exp(x / alpha) - 1) below (attrs: alpha)."""

from __future__ import annotations

from mpq_plugins.graph.node import Node
from mpq_plugins.graph.op import Op, any_negative
from mpq_plugins.graph.runner import Runner, Tensor


def celu(run: Runner, node: Node, x: Tensor) -> Tensor:
    """Smooth at zero, whatever alpha is."""
    alpha = float(node.attrs.get("alpha", 1.0))
    return run.where(x > 0, x, alpha * (run.exp(run.minimum(x, 0.0) / alpha) - 1.0))


OPS = (
    Op(
        "celu",
        celu,
        table=True,
        negative=any_negative,
        attrs=("alpha",),
        spellings={"torch": ("nn.CELU", "F.celu", "torch.celu"), "onnx": ("Celu",)},
        onnx=lambda attrs: {"alpha": float(attrs.get("alpha", 1.0))},
    ),
)

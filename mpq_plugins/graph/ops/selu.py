"""A scaled ELU with the constants of Klambauer et al. (1706.02515)."""

from __future__ import annotations

from mpq_plugins.graph.node import Node
from mpq_plugins.graph.op import Op, any_negative
from mpq_plugins.graph.runner import Runner, Tensor

ALPHA = 1.6732632423543772848170429916717
SCALE = 1.0507009873554804934193349852946


def selu(run: Runner, node: Node, x: Tensor) -> Tensor:
    """scale * (max(0, x) + min(0, alpha * (exp(x) - 1)))."""
    below = ALPHA * (run.exp(run.minimum(x, 0.0)) - 1.0)
    return SCALE * run.where(x > 0, x, below)


OPS = (
    Op(
        "selu",
        selu,
        table=True,
        negative=any_negative,
        spellings={"torch": ("nn.SELU", "F.selu", "torch.selu"), "keras": ("selu",), "onnx": ("Selu",)},
        onnx=lambda attrs: {"alpha": ALPHA, "gamma": SCALE},
    ),
)

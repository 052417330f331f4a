"""x times the normal distribution function of x, or its tanh approximation (attrs: approximate)."""

from __future__ import annotations

import math

from mpq_plugins.graph.node import Node
from mpq_plugins.graph.op import Op, any_negative
from mpq_plugins.graph.runner import Runner, Tensor


def gelu(run: Runner, node: Node, x: Tensor) -> Tensor:
    """Gaussian error linear unit (1606.08415, section 2)."""
    if node.attrs.get("approximate", False):
        return 0.5 * x * (1.0 + run.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x * x * x)))
    return 0.5 * x * (1.0 + run.erf(x / math.sqrt(2.0)))


OPS = (
    Op(
        "gelu",
        gelu,
        table=True,
        negative=any_negative,
        spellings={"torch": ("nn.GELU", "F.gelu"), "keras": ("gelu",), "onnx": ("Gelu",)},
        attrs=("approximate",),
        onnx=lambda attrs: {"approximate": "tanh" if attrs.get("approximate") else "none"},
    ),
)

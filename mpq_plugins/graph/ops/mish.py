"""x * tanh(log(1 + exp(x)))."""

from __future__ import annotations

from mpq_plugins.graph.node import Node
from mpq_plugins.graph.op import Op, any_negative
from mpq_plugins.graph.ops.softplus import softplus
from mpq_plugins.graph.runner import Runner, Tensor


def mish(run: Runner, node: Node, x: Tensor) -> Tensor:
    """The self-regularized non-monotonic activation (1908.08681, equation 1)."""
    return x * run.tanh(softplus(run, node, x))


OPS = (
    Op(
        "mish",
        mish,
        table=True,
        negative=any_negative,
        spellings={"torch": ("nn.Mish", "F.mish"), "keras": ("mish",), "onnx": ("Mish",)},
    ),
)

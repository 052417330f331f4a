"""log(sigmoid(x))."""

from __future__ import annotations

from mpq_plugins.graph.node import Node
from mpq_plugins.graph.op import Op, always
from mpq_plugins.graph.runner import Runner, Tensor


def log_sigmoid(run: Runner, node: Node, x: Tensor) -> Tensor:
    """Computed so that it does not overflow."""
    return run.minimum(x, 0.0) - run.log(1.0 + run.exp(-run.abs(x)))


OPS = (
    Op(
        "log_sigmoid",
        log_sigmoid,
        table=True,
        negative=always,
        spellings={"torch": ("nn.LogSigmoid", "F.logsigmoid"), "keras": ("log_sigmoid",)},
    ),
)

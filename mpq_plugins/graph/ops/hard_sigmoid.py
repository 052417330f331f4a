"""clamp(x / 5 + 1 / 2, 0, 1): the hard sigmoid of Keras 2."""

from __future__ import annotations

from mpq_plugins.graph.node import Node
from mpq_plugins.graph.op import Op, never
from mpq_plugins.graph.runner import Runner, Tensor


def hard_sigmoid(run: Runner, node: Node, x: Tensor) -> Tensor:
    """Steeper than torch's."""
    return run.minimum(run.maximum(0.2 * x + 0.5, 0.0), 1.0)


OPS = (
    Op(
        "hard_sigmoid",
        hard_sigmoid,
        table=True,
        negative=never,
        spellings={"torch": (), "keras": ("hard_sigmoid",), "onnx": ("HardSigmoid",)},
        onnx=lambda attrs: {"alpha": 0.2, "beta": 0.5},
    ),
)

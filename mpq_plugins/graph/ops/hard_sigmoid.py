"""clamp(x / 5 + 1 / 2, 0, 1): the hard sigmoid of Keras 2."""

from __future__ import annotations

from typing import Any

from mpq_plugins.graph.node import Node
from mpq_plugins.graph.op import Op, never


def hard_sigmoid(run: Any, node: Node, x: Any) -> Any:
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

"""clamp(x + 3, 0, 6) / 6: torch's hard sigmoid, and Keras 3's."""

from __future__ import annotations

from typing import Any

from mpq_plugins.graph.node import Node
from mpq_plugins.graph.op import Op, never


def hardsigmoid(run: Any, node: Node, x: Any) -> Any:
    """As MobileNetV3's squeeze-and-excite has it."""
    return run.minimum(run.maximum(x + 3.0, 0.0), 6.0) / 6.0


OPS = (
    Op(
        "hardsigmoid",
        hardsigmoid,
        table=True,
        negative=never,
        spellings={"torch": ("nn.Hardsigmoid", "F.hardsigmoid"), "keras": ("hardsigmoid",), "onnx": ("HardSigmoid",)},
        onnx=lambda attrs: {"alpha": 1 / 6, "beta": 0.5},
    ),
)

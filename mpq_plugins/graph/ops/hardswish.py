"""x * clamp(x + 3, 0, 6) / 6."""

from __future__ import annotations

from mpq_plugins.graph.node import Node
from mpq_plugins.graph.op import Op
from mpq_plugins.graph.runner import Runner, Tensor


def hardswish(run: Runner, node: Node, x: Tensor) -> Tensor:
    """MobileNetV3's approximation of SiLU."""
    return x * run.minimum(run.maximum(x + 3.0, 0.0), 6.0) / 6.0


OPS = (
    Op(
        "hardswish",
        hardswish,
        table=True,
        spellings={
            "torch": ("nn.Hardswish", "F.hardswish"),
            "keras": ("hard_swish", "hardswish"),
            "onnx": ("HardSwish",),
        },
    ),
)

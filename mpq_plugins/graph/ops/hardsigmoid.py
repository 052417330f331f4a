"""clamp(x + 3, 0, 6) / 6: torch's hard sigmoid, and Keras 3's."""

from __future__ import annotations

from mpq_plugins.graph.node import Node
from mpq_plugins.graph.op import Op, never
from mpq_plugins.graph.runner import Runner, Tensor


def hardsigmoid(run: Runner, node: Node, x: Tensor) -> Tensor:
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

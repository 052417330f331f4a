"""x from zero up, slope * x below (attrs: slope)."""

from __future__ import annotations

from typing import Any

from mpq_plugins.graph.node import Node
from mpq_plugins.graph.op import Op, any_negative


def leaky_relu(run: Any, node: Node, x: Any) -> Any:
    """A slope above one is legal."""
    return run.where(x >= 0, x, node.attrs["slope"] * x)


OPS = (
    Op(
        "leaky_relu",
        leaky_relu,
        table=True,
        negative=any_negative,
        spellings={"torch": ("nn.LeakyReLU", "F.leaky_relu"), "keras": ("LeakyReLU",), "onnx": ("LeakyRelu",)},
        attrs=("slope",),
        onnx=lambda attrs: {"alpha": float(attrs["slope"])},
    ),
)

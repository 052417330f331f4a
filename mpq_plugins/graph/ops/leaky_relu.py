"""x from zero up, slope * x below (attrs: slope)."""

from __future__ import annotations

import numpy as np

from mpq_plugins.graph.node import Node
from mpq_plugins.graph.op import Op, any_negative
from mpq_plugins.graph.runner import Runner, Tensor


def leaky_relu(run: Runner, node: Node, x: Tensor) -> Tensor:
    """A slope above one is legal. Kernels multiply float32 numbers, and some products are ties only as such."""
    below = run.to_precision(float(np.float32(node.attrs["slope"])) * x, "float32")
    return run.where(x >= 0, x, run.to_precision(below, run.precision_of(x)))


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

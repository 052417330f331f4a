"""Keras' general ReLU: x from threshold up and at most high, slope * (x - threshold) below (attrs)."""

from __future__ import annotations

from mpq_plugins.graph.node import Node
from mpq_plugins.graph.op import Op, any_negative
from mpq_plugins.graph.runner import Runner, Tensor


def threshold_relu(run: Runner, node: Node, x: Tensor) -> Tensor:
    """attrs: threshold, slope, and high, which may be None."""
    a = node.attrs
    y = run.where(x > a["threshold"], x, a["slope"] * (x - a["threshold"]))
    return y if a["high"] is None else run.minimum(y, a["high"])


OPS = (
    Op(
        "threshold_relu",
        threshold_relu,
        table=True,
        negative=any_negative,
        spellings={"torch": (), "keras": ("ReLU", "ThresholdedReLU")},
        attrs=("threshold", "slope", "high"),
    ),
)

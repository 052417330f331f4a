"""Functions that bring elements nearer to zero: torch's shrinks (attrs: bound) and threshold (threshold, value)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mpq_plugins.graph.node import Node
from mpq_plugins.graph.op import Op
from mpq_plugins.graph.runner import Runner, Tensor


def softshrink(run: Runner, node: Node, x: Tensor) -> Tensor:
    """Nearer by the bound."""
    bound = node.attrs.get("bound", 0.5)
    return run.maximum(x - bound, 0.0) + run.minimum(x + bound, 0.0)


def hardshrink(run: Runner, node: Node, x: Tensor) -> Tensor:
    """Zero within the bound."""
    return run.where(run.abs(x) > node.attrs.get("bound", 0.5), x, 0.0)


def tanhshrink(run: Runner, node: Node, x: Tensor) -> Tensor:
    """Nearer by the hyperbolic tangent."""
    return x - run.tanh(x)


def threshold(run: Runner, node: Node, x: Tensor) -> Tensor:
    """x above the threshold, the value up to it."""
    return run.where(x > node.attrs["threshold"], x, float(node.attrs["value"]))


def negative(node: Node, signs: Sequence[bool]) -> bool:
    """Below zero where the value is, and where the threshold lets it through."""
    return bool(node.attrs["value"] < 0 or (any(signs) and node.attrs["threshold"] < 0))


def _bound(node_attrs: Any) -> float:
    return float(node_attrs.get("bound", 0.5))


OPS = (
    Op(
        "softshrink",
        softshrink,
        table=True,
        attrs=("bound",),
        spellings={"torch": ("nn.Softshrink", "F.softshrink"), "onnx": ("Shrink",)},
        onnx=lambda attrs: {"lambd": _bound(attrs), "bias": _bound(attrs)},
    ),
    Op(
        "hardshrink",
        hardshrink,
        table=True,
        attrs=("bound",),
        spellings={"torch": ("nn.Hardshrink", "F.hardshrink", "torch.hardshrink", ".hardshrink"), "onnx": ("Shrink",)},
        onnx=lambda attrs: {"lambd": _bound(attrs), "bias": 0.0},
    ),
    Op("tanhshrink", tanhshrink, table=True, spellings={"torch": ("nn.Tanhshrink", "F.tanhshrink")}),
    Op(
        "threshold",
        threshold,
        table=True,
        negative=negative,
        attrs=("threshold", "value"),
        spellings={"torch": ("nn.Threshold", "F.threshold", "F.threshold_", "torch.threshold")},
    ),
)

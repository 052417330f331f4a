"""x ** exponent, of another exponent than small whole ones, which are products (attrs: exponent)."""

from __future__ import annotations

from collections.abc import Sequence

from mpq_plugins.graph.node import Node
from mpq_plugins.graph.op import Op
from mpq_plugins.graph.ops.elementary import SMALLEST
from mpq_plugins.graph.runner import Runner, Tensor


def power(run: Runner, node: Node, x: Tensor) -> Tensor:
    """Of numbers below zero by whole exponents only; others are what they are at the edge."""
    exponent = float(node.attrs["exponent"])
    if exponent.is_integer():
        return (run.where(run.abs(x) < SMALLEST, SMALLEST, x) if exponent < 0 else x) ** exponent
    return run.maximum(x, SMALLEST if exponent < 0 else 0.0) ** exponent


def negative(node: Node, signs: Sequence[bool]) -> bool:
    """Below zero by odd exponents alone."""
    return any(signs) and float(node.attrs["exponent"]) % 2 == 1


OPS = (
    Op(
        "power",
        power,
        table=True,
        negative=negative,
        attrs=("exponent",),
        spellings={"torch": ("torch.pow",), "keras": ("power",)},
    ),
)

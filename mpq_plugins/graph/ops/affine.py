"""scale * x + offset with two numbers (attrs): what sums and products with constants are that no layer takes in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mpq_plugins.graph.node import Node
from mpq_plugins.graph.op import Op


def affine(run: Any, node: Node, x: Any) -> Any:
    """The product first, so that a number added alone or multiplied alone rounds once in float too."""
    scale, offset = float(node.attrs["scale"]), float(node.attrs["offset"])
    scaled = x if scale == 1.0 else x * scale
    return scaled if offset == 0.0 else scaled + offset


def negative(node: Node, signs: Sequence[bool]) -> bool:
    """Below zero where the offset is, where the sign turns, and where a positive factor finds it."""
    return node.attrs["offset"] < 0 or node.attrs["scale"] < 0 or any(signs)


OPS = (Op("affine", affine, table=True, negative=negative, attrs=("scale", "offset")),)

"""Transposed convolutions: every input element adds its multiple of the kernel to the output, which is then cropped."""

from __future__ import annotations

from typing import Any

from mpq_plugins.graph.node import Node
from mpq_plugins.graph.op import Op, always


def deconvolve(run: Any, node: Node, x: Any, weight: Any, bias: Any) -> Any:
    """The products with the weight, and the bias. padding: how much of the whole output is cropped."""
    a = node.attrs
    return run.deconvolve(x, weight, bias, a["stride"], a["padding"], a["dilation"], a["groups"])


OPS = tuple(
    Op(word, deconvolve, weighted=True, images=True, negative=always, spellings={"litert": ("TRANSPOSE_CONV",)})
    for word in ("conv_transpose1d", "conv_transpose2d")
)

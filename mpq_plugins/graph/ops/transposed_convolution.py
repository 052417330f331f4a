"""Transposed convolutions: every input element adds its multiple of the kernel to the output, which is then cropped.

Those of volumes are plain ones on grids (``graph.transposed_volumes``), and are computed as such in float only.
"""

from __future__ import annotations

from mpq_plugins.graph.integer_steps import IntegerSteps
from mpq_plugins.graph.node import Node
from mpq_plugins.graph.op import Op, always
from mpq_plugins.graph.runner import Runner, Tensor


def deconvolve(run: Runner, node: Node, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The products with the weight, and the bias. padding: how much of the whole output is cropped."""
    a = node.attrs
    return run.deconvolve(x, weight, bias, a["stride"], a["padding"], a["dilation"], a["groups"])


def lowered(steps: IntegerSteps, node: Node) -> None:
    """A convolution by steps of one of the input spread by the stride, with the flipped kernel."""
    a = node.attrs
    assert node.weight is not None
    reach = [d * (k - 1) for d, k in zip(a["dilation"], node.weight.shape[2:], strict=True)]
    sides = tuple((r - before, r - after) for r, (before, after) in zip(reach, a["padding"], strict=True))
    steps.convolution(node, (1,) * len(sides), sides, a["dilation"], a["groups"], spread=a["stride"])


OPS = tuple(
    Op(
        word,
        deconvolve,
        weighted=True,
        images=True,
        negative=always,
        target="conv2d" if word == "conv_transpose3d" else "",
        integers=lowered,
        spellings={"litert": ("TRANSPOSE_CONV",)},
    )
    for word in ("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
)

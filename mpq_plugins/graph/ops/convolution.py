"""Convolutions of signals and images, depthwise ones and those in groups among them.

Those of volumes are ones of images on grids (``graph.volumes``), and are computed as such in float only.
"""

from __future__ import annotations

from mpq_plugins.graph.integer_steps import IntegerSteps
from mpq_plugins.graph.node import Node
from mpq_plugins.graph.op import Op, always
from mpq_plugins.graph.runner import Runner, Tensor


def convolve(run: Runner, node: Node, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The products with the weight, and the bias."""
    a = node.attrs
    return run.convolve(x, weight, bias, a["stride"], a["padding"], a["dilation"], a["groups"])


def lowered(steps: IntegerSteps, node: Node) -> None:
    """The same in integers."""
    a = node.attrs
    steps.convolution(node, a["stride"], a["padding"], a["dilation"], a["groups"])


OPS = tuple(
    Op(
        word,
        convolve,
        weighted=True,
        images=True,
        negative=always,
        target="conv2d" if word == "conv3d" else "",
        integers=lowered,
        spellings={"litert": (litert,)},
    )
    for word, litert in (
        ("conv1d", "CONV_2D"),
        ("conv2d", "CONV_2D"),
        ("conv3d", "CONV_2D"),
        ("depthwise_conv1d", "DEPTHWISE_CONV_2D"),
        ("depthwise_conv2d", "DEPTHWISE_CONV_2D"),
    )
)

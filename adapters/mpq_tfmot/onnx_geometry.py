"""Paddings, sizes and orders of axes: Keras' own in ONNX's words."""

from __future__ import annotations

from typing import Any

from mpq_tfmot.canonical_ops import Op
from mpq_tfmot.layer_matrix import same_padding

WEIGHT_ORDERS = {
    "conv1d": (2, 1, 0),
    "conv2d": (3, 2, 0, 1),
    "depthwise_conv1d": (1, 2, 0),
    "depthwise_conv2d": (2, 3, 0, 1),
    "conv_transpose2d": (3, 2, 0, 1),
    "linear": (1, 0),
}
"""ONNX's order of the axes of a weight, in terms of Keras'."""


def pads(op: Op, inside: Any, kernel: list[int], stride: list[int], dilation: list[int]) -> list[int]:
    """ONNX's pads: all that come before, then all behind."""
    if str(op.options.get("padding", "valid")).lower() != "same":
        return [0] * (2 * len(kernel))
    sides = [same_padding(*each) for each in zip(inside, kernel, stride, dilation, strict=False)]
    return [s[0] for s in sides] + [s[1] for s in sides]


def deconvolution(op: Op, inside: Any, kernel: list[int], stride: list[int]) -> dict[str, Any]:
    """Pads and output padding with which ConvTranspose gives the size that Keras gives."""
    begin, end, more = [], [], []
    for size, k, s, out in zip(inside, kernel, stride, op.shape, strict=False):
        whole = (size - 1) * s + k
        cut = max(whole - out, 0)
        before = cut // 2 if str(op.options.get("padding")).lower() == "same" else 0
        begin.append(before)
        end.append(cut - before)
        more.append(max(out - whole, 0))
    return {"pads": [*begin, *end], "output_padding": more}

"""Transposed convolutions with dilation, which have a stride of one: convolutions with the kernel turned round."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mpq_plugins.graph.node import Node
from mpq_plugins.graph.weights import from_framework
from mpq_plugins.graph.windows import same_padding
from mpq_tfmot.reader.call import Call


def dilated_transposed(call: Call, op: str, own: Any, bias: Any, attrs: Mapping[str, Any]) -> list[Node]:
    """The nodes of a layer. own: its kernel. attrs: of the transposed convolution, whose padding is what is cut off.

    Padding that Keras has no name for is a node of its own.
    """
    weight = from_framework(op, "NHWC", own)
    sizes, inside = weight.shape[2:], call.in_shapes[0][:-1]
    reach = [d * (k - 1) for d, k in zip(attrs["dilation"], sizes, strict=True)]
    pads = tuple((r - before, r - after) for r, (before, after) in zip(reach, attrs["padding"], strict=True))
    each = zip(inside, sizes, attrs["stride"], attrs["dilation"], strict=True)
    same = pads == tuple(same_padding(*one) for one in each)
    turned = np.ascontiguousarray(np.flip(weight, tuple(range(2, weight.ndim))))
    options = {**attrs, "padding": pads if same else ((0, 0),) * len(pads), "groups": 1}
    word = op.replace("conv_transpose", "conv")
    if same:
        return [Node(call.name, word, call.inputs, call.whole(), turned, bias, attrs=options)]
    wide = (*(n + before + after for n, (before, after) in zip(inside, pads, strict=True)), call.in_shapes[0][-1])
    sides = ((0, 0), *pads, (0, 0))
    padded = Node(f"{call.name}.padded", "pad", call.inputs, call.whole(wide), attrs={"pads": sides})
    return [padded, Node(call.name, word, (padded.name,), call.whole(), turned, bias, attrs=options)]

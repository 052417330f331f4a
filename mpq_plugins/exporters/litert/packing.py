"""Which layers LiteRT's kernels compute from packed weights. Found by trying ai-edge-litert 2.3."""

from __future__ import annotations

from mpq_plugins.graph.node import Node
from mpq_plugins.graph.ops import op_of
from mpq_plugins.graph.quantized import QuantizedGraph

PACKED_BITS = 4
PACKED_ACCUMULATOR = 2**27
"""XNNPACK's kernels for packed weights accumulate sixteen times the sum in 32 bits, and overflow from this sum on."""


def is_packed(quantized: QuantizedGraph, node: Node) -> bool:
    """Whether a layer's weight may be stored two codes to a byte: where the runtime then computes the same."""
    if quantized.weight_grid(node).bits > PACKED_BITS:
        return False
    engine = quantized.runtime.engine
    return packs(node, engine) and (engine != "xnnpack" or quantized.largest_sum(node) < PACKED_ACCUMULATOR)


def packs(node: Node, engine: str) -> bool:
    """Whether the kernels of an engine (running.RESOLVERS) have this layer with packed weights, whatever its bias.

    XNNPACK packs dense layers alone, and a pointwise convolution is one; other convolutions it would leave to the
    built-in kernel, which rounds otherwise, and at odd numbers of input channels its own differ. The built-in kernels
    have all but transposed convolutions.
    """
    if node.op.startswith("conv_transpose"):
        return False
    if engine != "xnnpack":
        return True
    assert node.weight is not None
    return (node.op == "linear" or is_pointwise(node)) and node.weight.shape[1] % 2 == 0


def is_pointwise(node: Node) -> bool:
    """Whether a convolution is a dense layer at every position."""
    if node.weight is None or node.op == "linear" or not op_of(node).images or node.op not in ("conv1d", "conv2d"):
        return False
    a = node.attrs
    padded = any(side for sides in a["padding"] for side in sides)
    return set(node.weight.shape[2:]) == {1} and set(a["stride"]) == {1} and a["groups"] == 1 and not padded

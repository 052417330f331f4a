"""What torch's int8 kernels need of a model on its grids: clamps to ranges, and layers in forms that they run exactly.

An int8 container does not clip at fewer bits than its own, and some kernels are wrong for some layers.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from torch import nn

from mpq_plugins.graph.node import RAW, Graph, Node
from mpq_plugins.graph.ops import op_of
from mpq_plugins.graph.quantized import QuantizedGraph, clamp_codes
from mpq_plugins.hardware.target import Target
from mpq_torch.modules.depthwise import SlicedDepthwise, saturates
from mpq_torch.modules.padded import PaddedConvolution
from mpq_torch.modules.subpixel import SubpixelConvTranspose
from mpq_torch.modules.written import CLAMP_SUFFIX, GridClamp
from mpq_torch.reader.modules import layer_of
from mpq_torch.reader.writing import is_relu
from mpq_torch.torch_ao.grid_observers import CONTAINER_BITS, zero_point_of

DECONVOLUTION_REFUSED = ("x86", "onednn")
"""Engines whose transposed convolutions are wrong for some shapes: see subpixel.py."""


def kernel_layers(quantized: QuantizedGraph, engine: str) -> dict[str, nn.Module]:
    """The layers whose kernels on ``engine`` are wrong, in a form that it runs exactly, by their names."""
    found: dict[str, nn.Module] = {}
    for node in quantized.graph.layers:
        owner = node.layer or node.name
        if owner in found:
            continue
        again = engine == "qnnpack" and _padded_anew(quantized, node)
        if node.op.startswith("conv_transpose") and (again or engine in DECONVOLUTION_REFUSED):
            transposed = layer_of(node)
            assert isinstance(transposed, nn.ConvTranspose1d | nn.ConvTranspose2d)
            found[owner] = SubpixelConvTranspose(transposed, again)
        elif again and any(side for sides in node.attrs["padding"] for side in sides):
            padded = layer_of(node)
            assert isinstance(padded, nn.Conv1d | nn.Conv2d)
            found[owner] = PaddedConvolution(padded)
        elif engine == "x86":
            layer, grids = layer_of(node), (quantized.grids[node.weight_site], quantized.grid(node.inputs[0]))
            if isinstance(layer, nn.Conv2d) and saturates(layer, *grids):
                found[owner] = SlicedDepthwise(layer)
    return found


def _padded_anew(quantized: QuantizedGraph, node: Node) -> bool:
    """Whether calls of a convolution read grids of different zero points."""
    calls = [other for other in quantized.graph.layers if other.weight_site == node.weight_site]
    return op_of(node).images and len({zero_point_of(quantized.grid(call.inputs[0])) for call in calls}) > 1


def clamps_on_grids(quantized: QuantizedGraph) -> Graph:
    """The graph with the bounds of its clamps moved inwards onto their grids, and to the grids' ranges.

    A bare ReLU needs neither.
    """

    def moved(node: Node) -> Node:
        if not _clamps(quantized.graph, node):
            return node
        grid = quantized.grid(node)
        low, high = (code * float(grid.steps[0]) for code in clamp_codes(node, grid))
        return replace(node, low=low, high=high)

    return quantized.graph.mapped(moved)


def grid_clamps(quantized: QuantizedGraph, node: Node) -> Iterable[tuple[str, nn.Module]]:
    """The clamp to the range of its grid that a node of fewer bits than its container needs, with its path."""
    grid = quantized.grid(node)
    if op_of(node).grid != "own" or grid.bits >= CONTAINER_BITS or _clamps(quantized.graph, node):
        return
    step = float(grid.steps[0])
    yield node.site + CLAMP_SUFFIX, GridClamp(grid.low * step, grid.high * step, len(node.shape) == 4)


def _clamps(graph: Graph, node: Node) -> bool:
    """Whether the node has a clamp other than a ReLU that torch.ao fuses or runs by itself."""
    bounded = node.op not in RAW and (node.low is not None or node.high is not None)
    return bounded and not is_relu(graph, node)


def check_products(quantized: QuantizedGraph, target: Target | None = None) -> None:
    """Raise ProcessorLimit, naming the weight, where products of two grids could saturate on this processor.

    target: whose kernels multiply; by default the graph's own.
    """
    target = target or quantized.target
    for node in quantized.graph.layers:
        source = quantized.grid_of[node.inputs[0]]
        weight = node.weight_site
        target.check_products(weight, quantized.grids[weight], quantized.grids[source])

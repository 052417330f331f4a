"""ONNX nodes for layers: on codes, and in float."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from mpq_plugins.exporters.onnx.moves import flat
from mpq_plugins.exporters.onnx.sizes import Sizes
from mpq_plugins.exporters.onnx.writer import Codes, GraphWriter, Weight
from mpq_plugins.graph.node import Node
from mpq_plugins.graph.quantized import QuantizedGraph, clamp_codes
from mpq_plugins.graph.weights import as_framework
from mpq_plugins.grid import Grid


def layer(writer: GraphWriter, quantized: QuantizedGraph, node: Node, name: str, x: Codes, sizes: Sizes) -> Codes:
    """A convolution, transposed convolution or linear on codes."""
    grid, weight = quantized.grid(node), _weight(quantized, node)
    bounds = clamp_codes(node, grid)
    if node.op != "linear":
        op = operator(node)
        return writer.layer(op, node.site, name, x, weight, grid, bounds, **geometry(node))
    if len(node.shape) == 2:
        return writer.layer("Gemm", node.site, name, x, weight, grid, bounds, transB=1)
    # Gemm takes a matrix: the axes in front of the features become one
    assert node.weight is not None
    rows = writer.constant(f"{name}.rows.shape", [-1, node.weight.shape[1]], "int64")
    matrix = writer.moved("Reshape", x, f"{name}.rows", [rows])
    assert isinstance(matrix, Codes)
    made = writer.layer("Gemm", node.site, f"{name}.matrix", matrix, weight, grid, bounds, transB=1)
    shape = writer.constant(f"{name}.shape", sizes.asked(node.shape), "int64")
    whole = writer.moved("Reshape", made, name, [shape])
    assert isinstance(whole, Codes)
    writer.sites[node.site] = (whole.name, whole.container.zero_point)
    return whole


def float_layer(writer: GraphWriter, node: Node, name: str, x: str) -> str:
    """The same on float values."""
    assert node.weight is not None
    bias = [] if node.bias is None else [writer.constant(f"{name}.bias", node.bias)]
    if node.op != "linear":
        weight = writer.constant(f"{name}.weight", as_framework(node, "NCHW"))
        return writer.node(operator(node), [x, weight, *bias], name, **geometry(node))
    weight = writer.constant(f"{name}.weight", node.weight.T)
    if not bias:
        return writer.node("MatMul", [x, weight], name)
    return writer.node("Add", [writer.node("MatMul", [x, weight], f"{name}.product"), *bias], name)


def operator(node: Node) -> str:
    """ONNX's operator of a convolution."""
    return "ConvTranspose" if node.op.startswith("conv_transpose") else "Conv"


def geometry(node: Node) -> dict[str, Any]:
    """The attributes of Conv or ConvTranspose."""
    a = node.attrs
    assert node.weight is not None
    found: dict[str, Any] = {
        "kernel_shape": list(node.weight.shape[2:]),
        "strides": list(a["stride"]),
        "dilations": list(a["dilation"]),
        "group": int(a["groups"]),
    }
    if operator(node) == "Conv":
        return {**found, "pads": flat(a["padding"])}
    # cropping less than nothing behind is what ONNX calls output padding
    found["pads"] = flat([(before, max(after, 0)) for before, after in a["padding"]])
    return {**found, "output_padding": [max(-after, 0) for _, after in a["padding"]]}


def _weight(quantized: QuantizedGraph, node: Node) -> Weight:
    codes = quantized.layer(node)
    stored = codes.weight.astype(np.int64)
    grid: Grid = quantized.weight_grid(node)
    if operator(node) == "ConvTranspose":
        groups = int(node.attrs["groups"])
        stored = np.asarray(as_framework(node, "NCHW", codes.weight)).astype(np.int64)
        if grid.axis is not None:  # the channels of each group lie along axis 1, and have the same steps
            grid = replace(grid, steps=grid.steps[: len(grid.steps) // groups], axis=1)
    return Weight(np.ascontiguousarray(stored), grid, None if node.bias is None else codes.bias)

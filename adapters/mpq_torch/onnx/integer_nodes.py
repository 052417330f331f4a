"""ONNX nodes for the ops of a simulation that compute on a grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import nn

from mpq_plugins.errors import UnsupportedOp
from mpq_plugins.exporters.onnx.writer import Codes, GraphWriter, Value, Weight
from mpq_plugins.grid import Grid
from mpq_torch.arithmetic import average_pool_is_exact
from mpq_torch.canonical_ops import Clamp
from mpq_torch.layer_matrix import TRANSPOSED
from mpq_torch.onnx.moving_nodes import reshaped, sizes
from mpq_torch.onnx.shapes import Shape
from mpq_torch.simulation import SimulatedAverage, SimulatedLayer, channel_steps


def weighted(
    writer: GraphWriter, module: SimulatedLayer, site: str, name: str, x: Codes, shapes: Sequence[Shape]
) -> Codes:
    """A convolution, transposed convolution or linear; shapes: of its input and its output."""
    layer, weight = module.layer, weight_of(module)
    if not isinstance(layer, nn.Linear):
        op = "ConvTranspose" if isinstance(layer, TRANSPOSED) else "Conv"
        return writer.layer(op, site, name, x, weight, module.grid, **geometry(layer))
    before, after = shapes
    if len(before) == 2:
        return writer.layer("Gemm", site, name, x, weight, module.grid, transB=1)
    # Gemm takes a matrix: the axes in front of the features become one
    rows = (1 if len(before) == 1 else None, layer.in_features)
    matrix = reshaped(writer, x, f"{name}.rows", rows)
    assert isinstance(matrix, Codes)
    made = writer.layer("Gemm", site, f"{name}.matrix", matrix, weight, module.grid, transB=1)
    whole = reshaped(writer, made, name, after)
    assert isinstance(whole, Codes)
    writer.sites[site] = (whole.name, whole.container.zero_point)
    return whole


def weight_of(module: SimulatedLayer) -> Weight:
    """Integer codes of a layer's weight, and its bias in steps of the accumulator."""
    layer, grid = module.layer, module.weight_grid
    codes = grid.quantize(layer.weight.detach().double().numpy())
    if layer.bias is None:
        return Weight(codes, grid)
    steps = channel_steps(layer, grid).numpy() * module.input_grid.steps[0]
    return Weight(codes, grid, layer.bias.detach().double().numpy() / steps)


def geometry(layer: nn.Module) -> dict[str, Any]:
    """The attributes of Conv or ConvTranspose for a layer of torch."""
    found: dict[str, Any] = {
        "kernel_shape": list(layer.kernel_size),
        "strides": list(layer.stride),
        "pads": list(layer.padding) * 2,
        "dilations": list(layer.dilation),
        "group": layer.groups,
    }
    if isinstance(layer, TRANSPOSED):
        found["output_padding"] = list(layer.output_padding)
    return found


def averaged(
    writer: GraphWriter, module: SimulatedAverage, site: str, name: str, x: Codes, args: Sequence[Any], shape: Shape
) -> Codes:
    """Average pooling, or a mean over the last axes; shape: of its input. args: of the call, after the tensor."""
    value = writer.float_of(x)
    if module.function != "torch.mean":
        mean = writer.node("AveragePool", [value], f"{name}.mean", **_pool(module, site, args, shape))
        return writer.quantize(mean, site, name, module.grid)
    axes = [axis % len(shape) for axis in args[0]]
    keepdims = bool(args[1]) if len(args) > 1 else False
    window = [shape[axis] for axis in axes]
    if None in window:
        raise UnsupportedOp(f"{site}: a mean over the batch has no ONNX form")
    if len(axes) == len(shape) - 2 and keepdims and average_pool_is_exact((1, int(np.prod(window)))):
        mean = writer.node("GlobalAveragePool", [value], f"{name}.mean")
    else:
        # the integer kernel of a global average multiplies by a reciprocal, which moves ties at some sizes
        numbers = writer.constant(f"{name}.axes", axes, "int64")
        mean = writer.node("ReduceMean", [value, numbers], f"{name}.mean", keepdims=int(keepdims))
    return writer.quantize(mean, site, name, module.grid)


def _pool(module: SimulatedAverage, site: str, args: Sequence[Any], shape: Shape) -> dict[str, Any]:
    dims = 1 if module.function == "torch.avg_pool1d" else 2
    kernel, stride, padding, ceil_mode = (*args, *(None, 0, False)[len(args) - 1 :])
    kernel, padding = sizes(kernel, dims), sizes(padding, dims)
    strides = sizes(stride, dims) if stride else kernel
    for size, k, s, p in zip(shape[-dims:], kernel, strides, padding, strict=True):
        if ceil_mode and size is not None and (size + 2 * p - k) % s:
            raise UnsupportedOp(
                f"{site}: average pooling in ceil_mode has windows past the edge of its input (size {size}, "
                f"window {k}, stride {s}, padding {p}), for which onnxruntime's kernels divide by different counts; "
                "pad before the pooling, or leave ceil_mode out"
            )
    return {"kernel_shape": kernel, "strides": strides, "pads": padding * 2, "count_include_pad": 1}


def added(writer: GraphWriter, site: str, name: str, parts: Sequence[Value], grid: Grid) -> Codes:
    """A sum on a grid of its own."""
    total = writer.node("Add", [writer.float_of(part) for part in parts], f"{name}.sum")
    return writer.quantize(total, site, name, grid)


def clamped(writer: GraphWriter, x: Codes, name: str, low: float | None, high: float | None) -> Codes:
    """A clamp whose bounds lie on the grid; None is no bound."""
    step, grid = x.grid.steps[0], x.grid
    bounds = (grid.low if low is None else round(low / step), grid.high if high is None else round(high / step))
    if bounds[0] <= grid.low and bounds[1] >= grid.high:
        return x
    return writer.clip(x, name, *bounds)


def rectified(writer: GraphWriter, module: nn.Module, x: Codes, name: str) -> Codes:
    """A ReLU, or a clamp of the simulation."""
    if isinstance(module, Clamp):
        return clamped(writer, x, name, module.low, module.high)
    return clamped(writer, x, name, 0.0, None)

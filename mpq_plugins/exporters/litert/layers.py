"""Layers: convolutions, transposed ones and linears as LiteRT has them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.exporters.litert.emission import Emission, builtin
from mpq_plugins.exporters.litert.geometry import as_images, convolution_padding, cropping_of
from mpq_plugins.exporters.litert.packing import is_packed, is_pointwise
from mpq_plugins.graph.node import Node, Shape
from mpq_plugins.graph.windows import inside
from mpq_plugins.grid import Grid


def linear(emission: Emission, node: Node, inputs: list[int], grid: Grid, name: str) -> int:
    """A dense layer on the last axis."""
    weight, bias = _constants(emission, node, emission.quantized.layer(node).weight, 0)
    output = emission.codes(name, node.shape, grid)
    keep = len(node.shape) > 2
    return emission.writer.op("FULLY_CONNECTED", [inputs[0], weight, bias], output, keepNumDims=keep)


def convolution(emission: Emission, node: Node, inputs: list[int], grid: Grid, name: str) -> int:
    """Convolutions, in groups or depthwise too."""
    wide, code = as_images(node), builtin(node)
    assert wide.weight is not None
    x, shape = emission.as_image(node, inputs[0], name)
    padding = convolution_padding(wide, shape)
    if padding.pads:
        x = emission.padded(x, shape, padding.before, emission.quantized.grid(node.inputs[0]), name)
    output, done = image_of(emission, node, wide, grid, name)
    codes = emission.quantized.layer(node).weight.reshape(wide.weight.shape)
    if _packed(emission, node) and is_pointwise(node) and emission.quantized.runtime.engine == "xnnpack":
        weight, bias = _constants(emission, node, codes[:, :, 0, 0], 0)
        emission.writer.op("FULLY_CONNECTED", [x, weight, bias], output, keepNumDims=True)
        return done()
    (rows, columns), (d_rows, d_columns) = wide.attrs["stride"], wide.attrs["dilation"]
    options: dict[str, Any] = {
        "padding": getattr(emission.writer.schema.Padding, padding.word),
        "strideH": rows,
        "strideW": columns,
        "dilationHFactor": d_rows,
        "dilationWFactor": d_columns,
    }
    if code == "DEPTHWISE_CONV_2D":
        arranged, axis = codes.transpose(1, 2, 3, 0), 3
        options["depthMultiplier"] = len(codes) // wide.attrs["groups"]
    else:
        arranged, axis = codes.transpose(0, 2, 3, 1), 0
    weight, bias = _constants(emission, node, arranged, axis)
    emission.writer.op(code, [x, weight, bias], output, **options)
    return done()


def transposed_convolution(emission: Emission, node: Node, inputs: list[int], grid: Grid, name: str) -> int:
    """Transposed convolutions; groups become one of zeros between them, and what "same" does not crop a slice does."""
    wide, writer = as_images(node), emission.writer
    assert wide.weight is not None
    x, in_shape = emission.as_image(node, inputs[0], name)
    cropping = cropping_of(wide, in_shape)
    codes = _ungrouped(emission.quantized.layer(node).weight.reshape(wide.weight.shape), wide.attrs["groups"])
    weight, bias = _constants(emission, node, codes.transpose(0, 2, 3, 1), 0)
    output, done = image_of(emission, node, wide, grid, name)
    rows, columns = wide.attrs["stride"]
    shape: Shape = (wide.shape[0], *cropping.sizes, wide.shape[3])
    whole = emission.codes(f"{name}/whole", shape, grid) if cropping.cuts else output
    writer.op(
        "TRANSPOSE_CONV",
        [_open_shape(emission, x, shape, name), weight, x, bias],
        whole,
        padding=getattr(writer.schema.Padding, cropping.word),
        strideH=rows,
        strideW=columns,
    )
    if cropping.cuts:
        ends = [cut + size for cut, size in zip(cropping.front, cropping.kept, strict=True)]
        emission.strided(whole, output, f"{name}/cropped", (0, *cropping.front, 0), (None, *ends, None))
    return done()


def image_of(emission: Emission, node: Node, wide: Node, grid: Grid, name: str) -> tuple[int, Callable[[], int]]:
    """The image that the op writes, and what gives the node's output from it once it is written."""
    if wide is node:
        output = emission.codes(name, node.shape, grid)
        return output, lambda: output
    image = emission.codes(f"{name}/2d", wide.shape, grid)
    return image, lambda: emission.reshaped(image, node.shape, emission.codes(name, node.shape, grid), name)


def _packed(emission: Emission, node: Node) -> bool:
    return emission.pack and is_packed(emission.quantized, node)


def _constants(emission: Emission, node: Node, codes: NDArray[Any], axis: int) -> tuple[int, int]:
    """The weight, its output channels along an axis, and the bias on the accumulator's steps."""
    quantized = emission.quantized
    grid, layer = quantized.weight_grid(node), quantized.layer(node)
    kind = "int4" if _packed(emission, node) else "int8"
    weight = emission.writer.constant(node.weight_site, codes, kind, grid.steps, axis=axis)
    steps = layer.steps if grid.axis is not None else layer.steps[:1]
    return weight, emission.writer.constant(f"{node.name}.bias", layer.bias, "int32", steps)


def _ungrouped(codes: NDArray[Any], groups: int) -> NDArray[Any]:
    """The weight of a convolution in groups as that of a whole one: zeros between the groups."""
    if groups == 1:
        return codes
    out, each = len(codes) // groups, codes.shape[1]
    whole = np.zeros((len(codes), each * groups, *codes.shape[2:]))
    for group in range(groups):
        rows = slice(group * out, (group + 1) * out)
        whole[rows, group * each : (group + 1) * each] = codes[rows]
    return whole


def _open_shape(emission: Emission, x: int, shape: Shape, name: str) -> int:
    """The shape of a transposed convolution's output, its batch taken from the input."""
    writer = emission.writer
    kind = writer.schema.TensorType.INT32
    whole = writer.op("SHAPE", [x], writer.variable(f"{name}/shape", (4,), "int32"), outType=kind)
    bounds = [emission.numbers(f"{name}/slice{v}", [v]) for v in (0, 1)]
    batch = writer.variable(f"{name}/batch", (1,), "int32")
    writer.op("STRIDED_SLICE", [whole, bounds[0], bounds[1], bounds[1]], batch)
    rest = emission.numbers(f"{name}/rest", [*inside(shape, "NHWC"), shape[3]])
    return writer.op("CONCATENATION", [batch, rest], writer.variable(f"{name}/full_shape", (4,), "int32"), axis=0)

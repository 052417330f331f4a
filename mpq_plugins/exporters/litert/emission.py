"""What the emitters of ops work on: the flatbuffer under way, and the small ops that many of them need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.exporters.litert.flatbuffer import FlatbufferWriter
from mpq_plugins.exporters.litert.geometry import with_row
from mpq_plugins.graph.arithmetic import int8_zero_point
from mpq_plugins.graph.node import RAW, Batch, Node, Shape
from mpq_plugins.graph.ops import op_of
from mpq_plugins.graph.quantized import QuantizedGraph, clamp_codes
from mpq_plugins.graph.runner import Sides
from mpq_plugins.grid import Grid

LOWEST, HIGHEST = -128, 127
CLIPPED = ("normalize", "softmax")
"""Ops that are computed in wider integers, and clipped to their grid there."""
FULL = "/unclipped"
"""Suffix of the tensor that holds a site before it is clipped to its grid."""
FLOAT_SUFFIX = "/float"


@dataclass
class Emission:
    """quantized: channels last. pack: two codes of 4 bits to a byte where that is exact. tensors: by node.

    parts: of float nodes that give several tensors, those.
    """

    quantized: QuantizedGraph
    pack: bool
    writer: FlatbufferWriter = field(default_factory=FlatbufferWriter)
    tensors: dict[str, int] = field(default_factory=dict)
    parts: dict[str, tuple[int, ...]] = field(default_factory=dict)
    _floats: dict[str, int] = field(default_factory=dict)

    def codes(self, name: str, shape: Shape, grid: Grid) -> int:
        """A tensor of codes that an op writes."""
        return self.writer.variable(name, shape, "int8", grid)

    def numbers(self, name: str, values: Any) -> int:
        """A constant of int32."""
        return self.writer.constant(name, np.asarray(values), "int32")

    def clips(self, node: Node, grid: Grid) -> bool:
        """Whether the op gives int8 codes that its site must not hold."""
        op = op_of(node)
        return op.grid == "own" and not op.table and op.word not in CLIPPED and bool(self.bounds(node, grid))

    def bounds(self, node: Node, grid: Grid) -> list[tuple[str, int]]:
        """The clips, as int8 holds them, that do not happen by themselves."""
        low, high = clamp_codes(node, grid)
        zero = int8_zero_point(grid)
        found = []
        if low + zero > LOWEST:
            found.append(("MAXIMUM", low + zero))
        if high + zero < HIGHEST:
            found.append(("MINIMUM", high + zero))
        return found

    def clipped(self, node: Node, grid: Grid, tensor: int, name: str) -> int:
        """The tensor kept to the codes of the node."""
        bounds = self.bounds(node, grid)
        for index, (code, bound) in enumerate(bounds):
            constant = self.writer.constant(
                f"{name}/{code.lower()}", np.array(bound), "int8", grid.steps, int8_zero_point(grid)
            )
            last = index == len(bounds) - 1
            output = self.codes(name if last else f"{name}/{code}", node.shape, grid)
            tensor = self.writer.op(code, [tensor, constant], output)
        return tensor

    def reshaped(self, tensor: int, shape: Shape, output: int, name: str) -> int:
        """The same elements under another shape; the batch takes what is left over."""
        wanted = [-1 if isinstance(size, Batch) else size for size in shape]
        return self.writer.op("RESHAPE", [tensor, self.numbers(f"{name}/shape", wanted)], output, newShape=wanted)

    def as_image(self, node: Node, tensor: int, name: str) -> tuple[int, Shape]:
        """What a convolution or pooling reads, as an image, and its shape."""
        shape = self.quantized.graph[node.inputs[0]].shape
        if len(shape) == 4:
            return tensor, shape
        wide = with_row(shape)
        output = self.codes(f"{name}/input2d", wide, self.quantized.grid(node.inputs[0]))
        return self.reshaped(tensor, wide, output, f"{name}/input2d"), wide

    def padded(self, tensor: int, shape: Shape, sides: Sides, grid: Grid, name: str, lowest: bool = False) -> int:
        """An image with its zero, or with the lowest code, around rows and columns."""
        pads = ((0, 0), *sides, (0, 0))
        output = self.codes(f"{name}/padded", padded_shape(shape, pads), grid)
        amounts = self.numbers(f"{name}/padded/amounts", pads)
        if not lowest:
            return self.writer.op("PAD", [tensor, amounts], output)
        value = self.writer.constant(
            f"{name}/padded/value", np.array([LOWEST]), "int8", grid.steps, int8_zero_point(grid)
        )
        return self.writer.op("PADV2", [tensor, amounts, value], output)

    def strided(
        self,
        tensor: int,
        output: int,
        name: str,
        begin: Sequence[int],
        end: Sequence[int | None],
        steps: Sequence[int] | None = None,
    ) -> int:
        """Every so manyth element of each axis, from ``begin`` to ``end`` (None: to the last, or back to the first)."""
        counted = steps or [1] * len(begin)
        given = [
            self.numbers(f"{name}/begin", begin),
            self.numbers(f"{name}/end", [stop or 0 for stop in end]),
            self.numbers(f"{name}/steps", counted),
        ]
        whole = sum(1 << axis for axis, stop in enumerate(end) if stop is None)
        from_start = sum(1 << axis for axis, start in enumerate(begin) if not start and counted[axis] > 0)
        return self.writer.op("STRIDED_SLICE", [tensor, *given], output, beginMask=from_start, endMask=whole)

    def as_float(self, name: str) -> int:
        """The output of a node as float32."""
        if self.quantized.graph[name].op in RAW:
            return self.tensors[name]
        if name not in self._floats:
            self._floats[name] = self.fresh_float(name, f"{name}{FLOAT_SUFFIX}")
        return self._floats[name]

    def fresh_float(self, name: str, called: str) -> int:
        """A new float32 tensor of codes."""
        output = self.writer.variable(called, self.quantized.graph[name].shape, "float32")
        return self.writer.op("DEQUANTIZE", [self.tensors[name]], output)

    def constant_codes(self, name: str, codes: NDArray[Any], grid: Grid) -> int:
        """A constant of codes."""
        zero = int8_zero_point(grid)
        return self.writer.constant(name, codes + zero, "int8", grid.steps, zero)


def padded_shape(shape: Shape, pads: Sides) -> Shape:
    """A shape with so much around every axis."""
    return tuple(
        size if isinstance(size, Batch) else size + before + after
        for size, (before, after) in zip(shape, pads, strict=True)
    )


def builtin(node: Node) -> str:
    """The builtin op that a record says its op is."""
    (name,) = op_of(node).spellings["litert"]
    return name

"""Norms and softmaxes as LiteRT's kernels of 32-bit integers, which all give the same numbers (graph.integer_norm).

The axes are brought to three, what lies before, along and behind them, and what there is one of for each row of numbers
is computed on a list of rows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.exporters.litert.emission import Emission
from mpq_plugins.graph.arithmetic import int8_zero_point
from mpq_plugins.graph.integer_norm import INDEX_BITS, POWERS, by_exponent
from mpq_plugins.graph.node import Batch, Node, Shape
from mpq_plugins.graph.quantized import clamp_codes
from mpq_plugins.grid import Grid


def normalized(emission: Emission, node: Node, inputs: list[int], grid: Grid, name: str) -> int:
    """graph.integer_norm.normalized, op by op."""
    law = emission.quantized.norm(node)
    rows = _Rows(emission, name, node.shape, tuple(node.attrs["axes"]))
    x = rows.entered(inputs[0], int8_zero_point(emission.quantized.grid(node.inputs[0])))
    deviation, square = rows.with_number("MUL", x, 2**law.fraction), rows.with_number("MUL", x, 2**law.square_fraction)
    if law.centered:
        total = rows.reduced("SUM", x)
        mean, finer = (_mean(rows, total, law.count, fraction) for fraction in (law.fraction, law.square_fraction))
        deviation, square = rows.of_two("SUB", deviation, mean), rows.of_two("SUB", square, finer)
        whole = rows.with_number("MUL", finer, law.count)
        rest = rows.of_two("SUB", rows.with_number("MUL", total, 2**law.square_fraction), whole)
        added = rows.with_number("ADD", rows.of_two("MUL", rest, rest), law.count // 2)
        added = rows.with_number("FLOOR_DIV", added, law.count)
        square = rows.of_two("SUB", rows.reduced("SUM", rows.of_two("MUL", square, square)), added)
    else:
        square = rows.reduced("SUM", rows.of_two("MUL", square, square))
    square = rows.with_number("MAXIMUM", rows.with_number("ADD", square, law.epsilon), 1)
    square = rows.listed(square)
    exponent = rows.counted(square, POWERS)
    up, down, half, last = (rows.looked_up(column, exponent) for column in by_exponent(law).T)
    index = rows.of_two("FLOOR_DIV", rows.of_two("MUL", square, up), down)
    root = rows.looked_up(law.table, rows.with_number("ADD", index, -(1 << INDEX_BITS)))
    product = rows.of_two("MUL", deviation, rows.spread(root))
    codes = rows.of_two("FLOOR_DIV", rows.of_two("ADD", product, rows.spread(half)), rows.spread(last))
    return rows.left(codes, grid, name, clamp_codes(node, grid))


def _mean(rows: _Rows, total: int, count: int, fraction: int) -> int:
    """The mean of so many codes from their sum, with so many bits behind the point."""
    doubled = rows.with_number("ADD", rows.with_number("MUL", total, 2 ** (fraction + 1)), count)
    return rows.with_number("FLOOR_DIV", doubled, 2 * count)


def softmaxed(emission: Emission, node: Node, inputs: list[int], grid: Grid, name: str) -> int:
    """graph.integer_softmax.softmaxed, op by op."""
    law = emission.quantized.softmax(node)
    rows = _Rows(emission, name, node.shape, (node.attrs["axis"],))
    x = rows.entered(inputs[0], 0)
    if law.hidden is not None:
        below = law.below + int8_zero_point(emission.quantized.grid(node.inputs[0]))
        x = rows.with_constant("ADD", rows.with_constant("MUL", x, ~law.hidden), law.hidden * below)
    powers = rows.looked_up(law.table, rows.of_two("SUB", rows.reduced("REDUCE_MAX", x), x))
    total = rows.reduced("SUM", powers)
    scaled = rows.of_two("ADD", rows.with_number("MUL", powers, 2 * law.steps), total)
    return rows.left(
        rows.of_two("FLOOR_DIV", scaled, rows.with_number("MUL", total, 2)), grid, name, clamp_codes(node, grid)
    )


@dataclass
class _Rows:
    """Ops on 32-bit integers of [before, along, behind], and of lists of what lies before and behind."""

    emission: Emission
    name: str
    shape: Shape
    axes: tuple[int, ...]
    shapes: dict[int, Shape] = field(default_factory=dict)

    @property
    def wide(self) -> Shape:
        """The shape as three axes; the samples are before the others."""
        first, last = min(self.axes), max(self.axes) + 1
        before, along, behind = (
            _size(part) for part in (self.shape[:first], self.shape[first:last], self.shape[last:])
        )
        return before, along, behind

    def entered(self, codes: int, zero: int) -> int:
        """Codes as integers, less the zero point."""
        kinds = self.emission.writer.schema.TensorType
        flat = self.emission.writer.variable(self._fresh("flat"), self.wide, "int8")
        self._reshaped(codes, flat, self.wide)
        made = self._made("wide", self.wide)
        self.emission.writer.op("CAST", [flat], made, inDataType=kinds.INT8, outDataType=kinds.INT32)
        return made if not zero else self.with_number("ADD", made, -zero)

    def left(self, x: int, grid: Grid, name: str, bounds: tuple[int, int]) -> int:
        """Integers clipped to bounds, as codes of a grid in the node's own shape."""
        writer, kinds, zero = self.emission.writer, self.emission.writer.schema.TensorType, int8_zero_point(grid)
        x = self.with_number("MINIMUM", self.with_number("MAXIMUM", x, bounds[0]), bounds[1])
        x = self.with_number("ADD", x, zero) if zero else x
        narrow = writer.variable(self._fresh("narrow"), self.wide, "int8", grid)
        writer.op("CAST", [x], narrow, inDataType=kinds.INT32, outDataType=kinds.INT8)
        return self.emission.reshaped(narrow, self.shape, self.emission.codes(name, self.shape, grid), name)

    def of_two(self, code: str, a: int, b: int) -> int:
        """Of two tensors; the one of the larger shape has that of the result."""
        sizes = [self.shapes[x] for x in (a, b)]
        shape = tuple(one if other == 1 else other for one, other in zip(*sizes, strict=True))
        return self.emission.writer.op(code, [a, b], self._made(code.lower(), shape))

    def with_number(self, code: str, x: int, number: int) -> int:
        """Of a tensor and a number."""
        constant = self.emission.writer.constant(self._fresh("number"), np.array(number), "int32")
        return self.emission.writer.op(code, [x, constant], self._made(code.lower(), self.shapes[x]))

    def with_constant(self, code: str, x: int, values: NDArray[Any]) -> int:
        """Of a tensor and an array of as many axes as the node has, whose sizes of one are repeated."""
        runs = _runs(values.shape)
        shape = tuple(_size(self.shape[first:last]) for first, last in runs)
        x = self._reshaped(x, self._made("parts", shape))
        sizes = [math.prod(values.shape[first:last]) for first, last in runs]
        constant = self.emission.numbers(self._fresh("constant"), values.reshape(sizes).astype(np.int32))
        x = self.emission.writer.op(code, [x, constant], self._made(code.lower(), shape))
        return self._reshaped(x, self._made("whole", self.wide))

    def reduced(self, code: str, x: int, axis: int = 1) -> int:
        """Over an axis, which is kept."""
        shape = tuple(1 if index == axis else size for index, size in enumerate(self.shapes[x]))
        axes = self.emission.numbers(self._fresh("axes"), [axis])
        return self.emission.writer.op(code, [x, axes], self._made(code.lower(), shape), keepDims=True)

    def listed(self, x: int) -> int:
        """What there is one of for each row of numbers, as a list [rows, 1]."""
        before, _, behind = self.wide
        return self._reshaped(x, self._made("listed", (_size((before, behind)), 1)))

    def spread(self, x: int) -> int:
        """A list [rows, 1] back in its three axes."""
        before, _, behind = self.wide
        return self._reshaped(x, self._made("spread", (before, 1, behind)))

    def counted(self, x: int, bounds: Sequence[int]) -> int:
        """How many of some numbers each of a list [rows, 1] reaches."""
        writer, kinds = self.emission.writer, self.emission.writer.schema.TensorType
        shape = (self.shapes[x][0], len(bounds))
        constant = writer.constant(self._fresh("bounds"), np.array([bounds]), "int32")
        reached = writer.op("GREATER_EQUAL", [x, constant], writer.variable(self._fresh("reached"), shape, "bool"))
        ones = self._made("ones", shape)
        writer.op("CAST", [reached], ones, inDataType=kinds.BOOL, outDataType=kinds.INT32)
        return self.reduced("SUM", ones)

    def looked_up(self, table: NDArray[Any], index: int) -> int:
        """The entries of a table."""
        writer = self.emission.writer
        constant = writer.constant(self._fresh("table"), table, "int32")
        return writer.op("GATHER", [constant, index], self._made("entry", self.shapes[index]), axis=0)

    def _reshaped(self, x: int, output: int, shape: Shape | None = None) -> int:
        return self.emission.reshaped(x, shape or self.shapes[output], output, self._fresh("reshaped"))

    def _made(self, what: str, shape: Shape) -> int:
        tensor = self.emission.writer.variable(self._fresh(what), shape, "int32")
        self.shapes[tensor] = shape
        return tensor

    def _fresh(self, what: str) -> str:
        """The name of a tensor inside of the node."""
        return f"{self.name}/{what}{len(self.emission.writer)}"


def _runs(sizes: Sequence[int]) -> list[tuple[int, int]]:
    """Neighbouring axes that are all of size one, or none of them, as where they begin and end.

    >>> _runs((1, 4, 1, 3, 3))
    [(0, 1), (1, 2), (2, 3), (3, 5)]
    """
    starts = [axis for axis in range(len(sizes)) if not axis or (sizes[axis] == 1) != (sizes[axis - 1] == 1)]
    return list(zip(starts, [*starts[1:], len(sizes)], strict=True))


def _size(shape: Shape) -> int | Batch:
    """The number of elements; with the samples, how many there are for each."""
    times = math.prod(size.times if isinstance(size, Batch) else size for size in shape)
    return Batch(times) if any(isinstance(size, Batch) for size in shape) else times

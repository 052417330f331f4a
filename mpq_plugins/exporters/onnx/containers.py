"""Which integer type of ONNX stores the codes of a grid, and how they are packed into bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.errors import GridError
from mpq_plugins.grid import Grid

Type = Literal["uint8", "int8", "int4", "int2"]
BITS: dict[Type, int] = {"uint8": 8, "int8": 8, "int4": 4, "int2": 2}
INT2_OPSET = 25
"""The first opset whose QuantizeLinear and Cast know int2."""


@dataclass(frozen=True)
class Container:
    """An integer type, and the zero point that is added to a code before it is stored."""

    type: Type
    zero_point: int = 0

    @property
    def low(self) -> int:
        """The smallest code that it holds."""
        return (0 if self.type == "uint8" else -(1 << (BITS[self.type] - 1))) - self.zero_point

    @property
    def high(self) -> int:
        """The largest code that it holds."""
        return self.low + (1 << BITS[self.type]) - 1


def activation_container(grid: Grid, symmetric: bool = False) -> Container:
    """How an activation is stored: unsigned codes in uint8 as they are, signed ones by ``symmetric``.

    symmetric: signed codes lie in int8 with zero point 0. Otherwise they lie in uint8 with half their range as
    zero point: the container itself then clips below, onnxruntime needs its integer kernels' one type for
    inputs and outputs, and stored values stay as small as can be, which matters to kernels that saturate.
    (The zero point is even, because a kernel may add it before it rounds ties to even.)

    >>> activation_container(Grid.power_of_two(4, 0))
    Container(type='uint8', zero_point=8)
    """
    if grid.bits > BITS["uint8"]:
        raise GridError(f"an activation in ONNX has at most 8 bits, got a grid of {grid}")
    if not grid.signed:
        return Container("uint8")
    return Container("int8") if symmetric else Container("uint8", 1 << (grid.bits - 1))


def weight_container(grid: Grid, pack: bool, opset: int) -> Container:
    """How a weight is stored: in int8, or packed in the smallest type that holds it; int2 needs opset 25.

    >>> [weight_container(Grid.power_of_two(b, 0), True, 21).type for b in (2, 4, 5)]
    ['int4', 'int4', 'int8']
    """
    if pack and grid.bits <= BITS["int2"] and opset >= INT2_OPSET:
        return Container("int2")
    return Container("int4" if pack and grid.bits <= BITS["int4"] else "int8")


def pack(codes: NDArray[Any], kind: Type) -> bytes:
    """Codes as the bytes of a TensorProto: packed little end first, as onnx.proto lays out types below 8 bits.

    >>> pack(np.array([1, -1, 7]), "int4").hex()
    'f107'
    """
    flat = np.asarray(codes).astype(np.int64).ravel()
    per_byte = 8 // BITS[kind]
    fields = (flat & ((1 << BITS[kind]) - 1)).astype(np.uint8)
    fields = np.concatenate([fields, np.zeros(-len(fields) % per_byte, np.uint8)]).reshape(-1, per_byte)
    shifts = np.arange(per_byte, dtype=np.uint8) * np.uint8(BITS[kind] % 8)
    return np.asarray(np.bitwise_or.reduce(fields << shifts, axis=1), np.uint8).tobytes()

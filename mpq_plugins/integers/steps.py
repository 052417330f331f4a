"""The steps of an integer program, and the integer stages that bring an accumulator onto a grid.

All shapes, axes and paddings are of one sample, in the program's layout; a batch axis comes in front
of them at run time. Geometry has two entries, rows and columns; over signals the rows have size one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from mpq_plugins.hardware.op_support import Rounding

Pair = tuple[int, int]
Sides = tuple[int, int, int, int]
"""Top, bottom, left, right."""

STRICT: Any = {"extra": "forbid", "strict": True}
"""What the reader of files asks of each dataclass: no unknown fields, no converted types."""


@dataclass(frozen=True)
class Shift:
    """Shift right by ``amounts`` (one, or one per output channel), rounding; negative ones shift left."""

    amounts: tuple[int, ...]
    rounding: Rounding
    kind: Literal["shift"] = "shift"
    __pydantic_config__: ClassVar[Any] = STRICT


@dataclass(frozen=True)
class Significant:
    """Round to so many significant bits, half to even: what a runtime's float32 does to integers past 2**24."""

    bits: int
    kind: Literal["significant"] = "significant"
    __pydantic_config__: ClassVar[Any] = STRICT


@dataclass(frozen=True)
class Multiply:
    """Multiply by a constant."""

    factor: int
    kind: Literal["multiply"] = "multiply"
    __pydantic_config__: ClassVar[Any] = STRICT


@dataclass(frozen=True)
class Divide:
    """Divide by a positive constant, rounding the quotient."""

    count: int
    rounding: Rounding
    kind: Literal["divide"] = "divide"
    __pydantic_config__: ClassVar[Any] = STRICT


@dataclass(frozen=True)
class Clamp:
    """The larger of ``low`` and the value, then the smaller of ``high`` and that."""

    low: int
    high: int
    kind: Literal["clamp"] = "clamp"
    __pydantic_config__: ClassVar[Any] = STRICT


Stage = Annotated[Shift | Significant | Multiply | Divide | Clamp, Field(discriminator="kind")]


@dataclass(frozen=True)
class Conv:
    """A convolution: sums of code times weight plus bias, then the stages. Padding counts as zeros.

    weight: codes of [out, rows, columns, in / groups]; bias: int32 [out], steps of the accumulator.
    accumulator_bits: 32 where no sum can leave int32, else 64.
    """

    output: str
    inputs: tuple[str]
    weight: str
    bias: str
    stride: Pair
    padding: Sides
    dilation: Pair
    groups: int
    accumulator_bits: Literal[32, 64]
    stages: tuple[Stage, ...]
    op: Literal["conv"] = "conv"
    __pydantic_config__: ClassVar[Any] = STRICT


@dataclass(frozen=True)
class Linear:
    """A dense layer on the last axis. weight: codes of [out, in]; the rest as for Conv."""

    output: str
    inputs: tuple[str]
    weight: str
    bias: str
    accumulator_bits: Literal[32, 64]
    stages: tuple[Stage, ...]
    op: Literal["linear"] = "linear"
    __pydantic_config__: ClassVar[Any] = STRICT


@dataclass(frozen=True)
class Add:
    """Sum of two tensors (sizes of one are repeated), each shifted left onto the finer step first; then the stages."""

    output: str
    inputs: tuple[str, str]
    left: Pair
    accumulator_bits: Literal[32, 64]
    stages: tuple[Stage, ...]
    op: Literal["add"] = "add"
    __pydantic_config__: ClassVar[Any] = STRICT


@dataclass(frozen=True)
class Product:
    """Product of two tensors (sizes of one are repeated), then the stages."""

    output: str
    inputs: tuple[str, str]
    accumulator_bits: Literal[32, 64]
    stages: tuple[Stage, ...]
    op: Literal["mul"] = "mul"
    __pydantic_config__: ClassVar[Any] = STRICT


@dataclass(frozen=True)
class Matmul:
    """Matrix products of two tensors, [..., rows, inner] and [..., inner, columns], then the stages."""

    output: str
    inputs: tuple[str, str]
    accumulator_bits: Literal[32, 64]
    stages: tuple[Stage, ...]
    op: Literal["matmul"] = "matmul"
    __pydantic_config__: ClassVar[Any] = STRICT


@dataclass(frozen=True)
class Normalize:
    """d times the root of n over A, for the n elements along neighbouring axes, as ``graph.integer_norm`` has it.

    d is the code times 2^fraction, A of squares of codes times 2^square_fraction, and epsilon. The product with
    the table's root is shifted right by shift and by half the exponent of A, half up, and clamped to low .. high.
    """

    output: str
    inputs: tuple[str]
    axes: tuple[int, ...]
    centered: bool
    fraction: int
    square_fraction: int
    epsilon: int
    shift: int
    table: str
    low: int
    high: int
    op: Literal["normalize"] = "normalize"
    __pydantic_config__: ClassVar[Any] = STRICT


@dataclass(frozen=True)
class Softmax:
    """Along an axis: T, the table's entry for the distance from the largest code, times ``scale`` over the sum of T,
    rounded half up and clamped to low .. high."""

    output: str
    inputs: tuple[str]
    axis: int
    scale: int
    table: str
    low: int
    high: int
    op: Literal["softmax"] = "softmax"
    __pydantic_config__: ClassVar[Any] = STRICT


@dataclass(frozen=True)
class Mean:
    """Sum over axes, then the stages, which divide it."""

    output: str
    inputs: tuple[str]
    axes: tuple[int, ...]
    accumulator_bits: Literal[32, 64]
    stages: tuple[Stage, ...]
    op: Literal["mean"] = "mean"
    __pydantic_config__: ClassVar[Any] = STRICT


@dataclass(frozen=True)
class MaxPool:
    """The largest code of each window; what lies outside of the input is left out."""

    output: str
    inputs: tuple[str]
    kernel: Pair
    stride: Pair
    padding: Sides
    dilation: Pair
    op: Literal["max_pool"] = "max_pool"
    __pydantic_config__: ClassVar[Any] = STRICT


@dataclass(frozen=True)
class AveragePool:
    """Sum of each window divided by its count, both of codes plus ``offset``, which is taken off again.

    counts_padding: whether the padding, as zeros, belongs to the count; else only what lies inside.
    """

    output: str
    inputs: tuple[str]
    kernel: Pair
    stride: Pair
    padding: Sides
    counts_padding: bool
    offset: int
    rounding: Rounding
    op: Literal["average_pool"] = "average_pool"
    __pydantic_config__: ClassVar[Any] = STRICT


@dataclass(frozen=True)
class Bound:
    """A clamp by itself, on the grid of its input."""

    output: str
    inputs: tuple[str]
    low: int
    high: int
    op: Literal["clamp"] = "clamp"
    __pydantic_config__: ClassVar[Any] = STRICT


@dataclass(frozen=True)
class Lookup:
    """A function of one element as a table: the entry of code c is ``table[c - first]``.

    Entries are codes, or rows of codes, whose axis stands behind those of the input.
    """

    output: str
    inputs: tuple[str]
    table: str
    first: int
    op: Literal["lookup"] = "lookup"
    __pydantic_config__: ClassVar[Any] = STRICT


@dataclass(frozen=True)
class Concat:
    """Tensors of one grid along an axis."""

    output: str
    inputs: tuple[str, ...]
    axis: int
    op: Literal["concat"] = "concat"
    __pydantic_config__: ClassVar[Any] = STRICT


@dataclass(frozen=True)
class Move:
    """Padding, slicing, repeating, transposing: each output element is one input element, or zero.

    Along each axis, output position o is position ``u / (insert * repeat)`` of input axis ``order[axis]``,
    where ``u = o * step - before``; zero where that is outside, or u no multiple of insert.
    kind: what the step is for, in a word.
    """

    output: str
    inputs: tuple[str]
    kind: Literal["pad", "slice", "repeat", "transpose", "zero_stuff"]
    order: tuple[int, ...]
    before: tuple[int, ...]
    step: tuple[int, ...]
    repeat: tuple[int, ...]
    insert: tuple[int, ...]
    op: Literal["move"] = "move"
    __pydantic_config__: ClassVar[Any] = STRICT


@dataclass(frozen=True)
class Reshape:
    """The same codes in the same order under another shape."""

    output: str
    inputs: tuple[str]
    op: Literal["reshape"] = "reshape"
    __pydantic_config__: ClassVar[Any] = STRICT


@dataclass(frozen=True)
class Constant:
    """Codes that do not depend on the input."""

    output: str
    array: str
    inputs: tuple[()] = ()
    op: Literal["constant"] = "constant"
    __pydantic_config__: ClassVar[Any] = STRICT


Step = Annotated[
    Conv
    | Linear
    | Add
    | Product
    | Matmul
    | Normalize
    | Softmax
    | Mean
    | MaxPool
    | AveragePool
    | Bound
    | Lookup
    | Concat
    | Move
    | Reshape
    | Constant,
    Field(discriminator="op"),
]
Staged = Conv | Linear | Add | Product | Matmul | Mean
"""A step with an accumulator, which stages bring onto the grid of the output."""
STAGED = (Conv, Linear, Add, Product, Matmul, Mean)
"""The classes of Staged."""

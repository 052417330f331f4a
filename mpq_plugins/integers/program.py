"""Program: a quantized model as integers and shifts alone, known to no framework."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.errors import ProgramError
from mpq_plugins.hardware.op_support import Rounding
from mpq_plugins.integers.steps import STAGED, Constant, Conv, Linear, Step
from mpq_plugins.integers.strict import STRICT
from mpq_plugins.integers.table_steps import Lookup, Normalize, Rows, Softmax

Codes = NDArray[np.integer[Any]]
Layout = Literal["channels_first", "channels_last"]


@dataclass(frozen=True)
class Tensor:
    """An activation. shape: of one sample. Its values are ``code * 2**exponent``; the zero point is 0."""

    name: str
    shape: tuple[int, ...]
    bits: int
    signed: bool
    exponent: int
    zero_point: Literal[0] = 0
    __pydantic_config__: ClassVar[Any] = STRICT

    @property
    def elements(self) -> int:
        """Number of codes of one sample."""
        return math.prod(self.shape)

    @property
    def low(self) -> int:
        """Smallest code that the bits hold."""
        return -(1 << (self.bits - 1)) if self.signed else 0

    @property
    def high(self) -> int:
        """Largest code that the bits hold."""
        return (1 << (self.bits - int(self.signed))) - 1

    @property
    def largest(self) -> int:
        """Largest magnitude of a code."""
        return max(self.high, -self.low)


@dataclass(frozen=True)
class Weight:
    """A weight. Its values are ``code * 2**exponent``; exponents: one, or one per output channel (axis 0)."""

    name: str
    shape: tuple[int, ...]
    bits: int
    exponents: tuple[int, ...]
    zero_point: Literal[0] = 0
    __pydantic_config__: ClassVar[Any] = STRICT


@dataclass(frozen=True)
class Bias:
    """An int32 bias. Its values are ``code * 2**exponent``, the step of the accumulator; one, or one per channel."""

    name: str
    exponents: tuple[int, ...]
    __pydantic_config__: ClassVar[Any] = STRICT


@dataclass(frozen=True)
class Entrance:
    """How the codes of an input come from floats: round(x * 2**-exponent + offset) - offset, clamped to low .. high.

    The runtime adds its offset before it rounds, in float32, which decides about some ties.
    numbers_rows: whether the input is of whole numbers that name rows of a table instead: they are the codes, and
    none but those from low to high are taken.
    """

    tensor: str
    rounding: Rounding
    low: int
    high: int
    offset: int = 0
    numbers_rows: bool = False
    __pydantic_config__: ClassVar[Any] = STRICT


@dataclass(frozen=True)
class Program:
    """A model from integer inputs to integer outputs.

    name: of the model. target: whose rounding the steps follow. layout: of all image and signal tensors:
    [channels, rows, columns] or [rows, columns, channels]. steps: in the order of execution.
    outputs: names of tensors, in the order of the
    model's (two of them may be one tensor). float_ops: what of the model comes after the outputs, and is float.
    arrays: by name the codes of weights, biases, tables and constants.

    Raises ProgramError, naming the step, where parts do not fit together.
    """

    name: str
    target: str
    framework: str
    layout: Layout
    tensors: tuple[Tensor, ...]
    weights: tuple[Weight, ...]
    biases: tuple[Bias, ...]
    inputs: tuple[Entrance, ...]
    outputs: tuple[str, ...]
    steps: tuple[Step, ...]
    float_ops: tuple[str, ...] = ()
    arrays: Mapping[str, Codes] = field(default_factory=dict, repr=False)

    __hash__ = None  # type: ignore[assignment]  # holds arrays

    def __post_init__(self) -> None:
        known = {tensor.name for tensor in self.tensors}
        made = {entrance.tensor for entrance in self.inputs}
        for step in self.steps:
            missing = [name for name in step.inputs if name not in made]
            if missing:
                raise ProgramError(f"step {step.output!r} reads {', '.join(missing)}, which no step before it writes")
            made.add(step.output)
        unknown = sorted(((made | set(self.outputs)) - known) | (set(self.outputs) - made))
        if unknown:
            raise ProgramError(f"the program says nothing of the tensors {', '.join(unknown)}")
        wanted = [name for step in self.steps for name in arrays_of(step)]
        absent = [name for name in dict.fromkeys(wanted) if name not in self.arrays]
        if absent:
            raise ProgramError(f"the program has no codes for {', '.join(absent)}")
        for weight in self.weights:
            if self.arrays[weight.name].shape != weight.shape:
                raise ProgramError(
                    f"the codes of {weight.name!r} have the shape {self.arrays[weight.name].shape}, and should have "
                    f"{weight.shape}"
                )

    def tensor(self, name: str) -> Tensor:
        """The tensor of a name. Raises ProgramError."""
        found = next((t for t in self.tensors if t.name == name), None)
        if found is None:
            raise ProgramError(f"the program has no tensor {name!r}")
        return found

    def weight(self, name: str) -> Weight:
        """The weight of a name."""
        return next(w for w in self.weights if w.name == name)

    def bias(self, name: str) -> Bias:
        """The bias of a name."""
        return next(b for b in self.biases if b.name == name)

    @property
    def accumulator_bits(self) -> int:
        """Bits of the widest accumulator: 32 or 64."""
        return max((step.accumulator_bits for step in self.steps if isinstance(step, STAGED)), default=32)


def arrays_of(step: Step) -> tuple[str, ...]:
    """Names of the arrays that a step reads."""
    if isinstance(step, Conv | Linear):
        return step.weight, step.bias
    if isinstance(step, Lookup | Rows | Normalize | Softmax):
        return (step.table,)
    return (step.array,) if isinstance(step, Constant) else ()

"""The steps of an integer program that read a table: functions of one element, rows, softmax and norms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from mpq_plugins.integers.strict import STRICT


@dataclass(frozen=True)
class Lookup:
    """A function of one element as a table: the entry of code c is ``table[c - first]``."""

    output: str
    inputs: tuple[str]
    table: str
    first: int
    op: Literal["lookup"] = "lookup"
    __pydantic_config__: ClassVar[Any] = STRICT


@dataclass(frozen=True)
class Rows:
    """Rows of a table of codes, [rows, size], one for each whole number of the input: an embedding."""

    output: str
    inputs: tuple[str]
    table: str
    op: Literal["rows"] = "rows"
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

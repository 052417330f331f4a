"""Grid: the values that a quantized tensor may take."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mpq_plugins.errors import GridError, NonFiniteValues

MIN_BITS = 1
MAX_BITS = 16
_TOGETHER = 2**20
"""Elements of an array that are put on a grid at once: 8 MB."""


@dataclass(frozen=True)
class Grid:
    """Integer codes ``low .. high`` times a step; one step for the tensor, or one per channel.

    Codes are two's complement when signed (``-2**(bits-1) .. 2**(bits-1)-1``), ``0 .. 2**bits-1``
    when unsigned, and ``+-(2**(bits-1)-1)`` when narrow. The threshold is
    ``step * 2**(bits - signed)``; a power-of-two grid has thresholds (and so steps) ``2**k``.

    ``steps`` holds one positive float per tensor (``axis`` None) or per channel along ``axis``.

    >>> grid = Grid.power_of_two(bits=3, exponent=0)
    >>> grid.steps, grid.low, grid.high
    ((0.25,), -4, 3)
    >>> grid.project(np.array([-1.2, -0.3, 0.125, 0.49, 1.3]))
    array([-1.  , -0.25,  0.  ,  0.5 ,  0.75])
    """

    bits: int
    steps: tuple[float, ...]
    signed: bool = True
    narrow: bool = False
    axis: int | None = None

    def __post_init__(self) -> None:
        if isinstance(self.bits, bool) or int(self.bits) != self.bits:
            raise GridError(f"bits must be an integer from {MIN_BITS} to {MAX_BITS}, got {self.bits!r}")
        if not MIN_BITS <= self.bits <= MAX_BITS:
            raise GridError(f"bits must be from {MIN_BITS} to {MAX_BITS}, got {self.bits}")
        if self.narrow and not self.signed:
            raise GridError("a narrow grid is symmetric about zero; an unsigned grid cannot be narrow")
        if self.narrow and self.bits == 1:
            raise GridError("a narrow grid of 1 bit holds nothing but zero; use 2 bits or more")
        steps = tuple(np.ravel(np.asarray(self.steps, dtype=np.float64)).tolist())
        if not steps:
            raise GridError("a grid needs at least one step")
        if self.axis is None and len(steps) != 1:
            raise GridError(f"{len(steps)} steps need an axis; a per-tensor grid has one step")
        found = np.asarray(steps)
        wrong = np.flatnonzero(~(np.isfinite(found) & (found > 0)))
        if len(wrong):
            where = "" if self.axis is None else f" of channel {wrong[0]}"
            raise GridError(f"the step{where} must be positive and finite, got {steps[wrong[0]]}")
        object.__setattr__(self, "bits", int(self.bits))
        object.__setattr__(self, "signed", bool(self.signed))
        object.__setattr__(self, "narrow", bool(self.narrow))
        object.__setattr__(self, "steps", steps)

    @classmethod
    def power_of_two(
        cls,
        bits: int,
        exponent: int | Iterable[int],
        signed: bool = True,
        narrow: bool = False,
        axis: int | None = None,
    ) -> Grid:
        """The grid with threshold ``2**exponent`` (one exponent, or one per channel along axis)."""
        exponents = np.ravel(np.asarray(exponent)).astype(np.int64)
        with np.errstate(over="ignore"):  # an infinite step is refused by name
            steps = np.ldexp(1.0, exponents - (int(bits) - int(bool(signed))))
        return cls(bits, tuple(steps.tolist()), signed, narrow, axis)

    @property
    def low(self) -> int:
        """Smallest code."""
        if not self.signed:
            return 0
        return -(1 << (self.bits - 1)) + int(self.narrow)

    @property
    def high(self) -> int:
        """Largest code."""
        return (1 << (self.bits - int(self.signed))) - 1

    @property
    def step(self) -> float | NDArray[np.float64]:
        """The step: a float per tensor, an array [channels] per channel."""
        return self.steps[0] if self.axis is None else np.asarray(self.steps)

    @property
    def threshold(self) -> float | NDArray[np.float64]:
        """``step * 2**(bits - signed)``: a float per tensor, an array [channels] per channel."""
        return self.step * float(2 ** (self.bits - int(self.signed)))

    @property
    def is_power_of_two(self) -> bool:
        """Whether every step, and so every threshold, is an integer power of two."""
        return bool(np.all(np.frexp(self.steps)[0] == 0.5))

    @property
    def exponents(self) -> tuple[int, ...]:
        """Base-two logarithm of each threshold; raises GridError unless the grid is power-of-two."""
        if not self.is_power_of_two:
            raise GridError("only a power-of-two grid has exponents")
        shift = self.bits - int(self.signed)
        return tuple((np.frexp(self.steps)[1] - 1 + shift).tolist())

    @property
    def exponent(self) -> int:
        """Base-two logarithm of the threshold of a per-tensor power-of-two grid."""
        if self.axis is not None:
            raise GridError("a per-channel grid has exponents, one per channel")
        return self.exponents[0]

    @property
    def channels(self) -> int | None:
        """Number of channels with a step of their own; None for a per-tensor grid."""
        return None if self.axis is None else len(self.steps)

    def step_for(self, ndim: int) -> NDArray[np.float64]:
        """The steps as an array of ``ndim`` dimensions that broadcasts against a tensor."""
        if self.axis is None:
            return np.asarray(self.steps).reshape((1,) * ndim)
        if not -ndim <= self.axis < ndim:
            raise GridError(f"axis {self.axis} does not exist in a tensor of {ndim} dimensions")
        shape = [1] * ndim
        shape[self.axis] = len(self.steps)
        return np.asarray(self.steps).reshape(shape)

    def quantize(self, x: ArrayLike) -> NDArray[np.integer[Any]]:
        """Codes of ``x``: round half to even, then clip; the smallest integer type that holds them.

        Raises NonFiniteValues on NaN or infinity, GridError when the channel count is another.

        >>> Grid.power_of_two(4, 0).quantize([0.0625, 0.1875, 2.0])
        array([0, 2, 7], dtype=int8)
        """
        return self._placed(self._checked(x), self.dtype, values=False)

    def dequantize(self, codes: ArrayLike) -> NDArray[np.float64]:
        """Values of ``codes``, float64: codes times step. Raises GridError on a code off the grid."""
        array = np.asarray(codes)
        if array.size and (array.min() < self.low or array.max() > self.high):
            raise GridError(f"codes from {array.min()} to {array.max()} do not fit a grid of {self.low} .. {self.high}")
        return np.asarray(array * self._steps_of(array.shape), dtype=np.float64)

    def project(self, x: ArrayLike) -> NDArray[Any]:
        """The nearest grid value of each element (ties to the even code); keeps float32 and float64."""
        array = self._checked(x)
        return self._placed(array, _kept(array), values=True)

    def holds(self, x: ArrayLike) -> bool:
        """Whether every element is what ``project`` makes of it."""
        array = self._checked(x)
        steps = self._steps_of(array.shape)
        kept = _kept(array)
        parts = ((array[part], _of_part(steps, part)) for part in _parts(array.shape))
        return all(np.array_equal(self._on(some, own, values=True).astype(kept), some) for some, own in parts)

    def contains(self, other: Grid) -> bool:
        """Whether every value of ``other`` is a value of this grid (power-of-two grids nest).

        >>> Grid.power_of_two(8, 0).contains(Grid.power_of_two(3, 0))
        True
        """
        if self.axis is not None and (self.axis != other.axis or len(self.steps) != len(other.steps)):
            return False
        ratios = np.asarray(other.steps) / np.asarray(self.steps)
        whole = bool(np.all(ratios == np.rint(ratios)))
        return whole and bool(np.all(other.low * ratios >= self.low) and np.all(other.high * ratios <= self.high))

    @property
    def dtype(self) -> np.dtype[Any]:
        """Smallest NumPy integer type that holds every code."""
        return np.dtype(f"{'int' if self.signed else 'uint'}{8 if self.bits <= 8 else 16}")

    def __str__(self) -> str:
        kind = ("narrow " if self.narrow else "") + ("signed" if self.signed else "unsigned")
        where = "" if self.axis is None else f" per channel (axis {self.axis})"
        if not self.is_power_of_two:
            return f"{self.bits} bits {kind}{where}, step {_span(self.steps)}"
        return f"{self.bits} bits {kind}{where}, threshold 2^{_span(self.exponents)}"

    def _steps_of(self, shape: tuple[int, ...]) -> NDArray[np.float64]:
        steps = self.step_for(len(shape))
        if self.axis is not None and shape[self.axis] != len(self.steps):
            raise GridError(f"a grid of {len(self.steps)} channels does not fit axis {self.axis} of shape {shape}")
        return steps

    def _checked(self, x: ArrayLike) -> NDArray[Any]:
        array = np.asarray(x)
        if not np.all(np.isfinite(array)):
            bad = int(array.size - np.count_nonzero(np.isfinite(array)))
            raise NonFiniteValues(f"{bad} of {array.size} values are NaN or infinite")
        return array

    def _placed(self, array: NDArray[Any], dtype: np.dtype[Any], values: bool) -> NDArray[Any]:
        """Codes, or their values, in a type; computed in float64, part by part of a large array."""
        steps, found = self._steps_of(array.shape), np.empty(array.shape, dtype)
        for part in _parts(array.shape):
            found[part] = self._on(array[part], _of_part(steps, part), values)
        return found

    def _on(self, array: NDArray[Any], steps: NDArray[np.float64], values: bool) -> NDArray[np.float64]:
        codes = np.asarray(np.divide(array, steps, dtype=np.float64))
        np.rint(codes, out=codes)  # in place: new memory for a large weight takes longer than the arithmetic
        np.clip(codes, self.low, self.high, out=codes)
        if values:
            codes *= steps
        return codes


def _kept(array: NDArray[Any]) -> np.dtype[Any]:
    """The type of values on a grid, of an array: its own, if that is a float's."""
    return array.dtype if np.issubdtype(array.dtype, np.floating) else np.dtype(np.float64)


def _of_part(steps: NDArray[np.float64], part: Any) -> NDArray[np.float64]:
    """The steps of a part of an array, which broadcast against it."""
    return steps[part] if steps.ndim and len(steps) > 1 else steps


def _parts(shape: tuple[int, ...]) -> Iterator[Any]:
    """Indices, along the first axis, of parts of an array of about _TOGETHER elements, or of one entry each."""
    size = math.prod(shape)
    if size <= _TOGETHER:
        yield ...
        return
    entries = max(1, shape[0] * _TOGETHER // size)
    for start in range(0, shape[0], entries):
        yield slice(start, start + entries)


def _span(values: tuple[float, ...] | tuple[int, ...]) -> str:
    low, high = min(values), max(values)
    return f"{low:g}" if low == high else f"{low:g}..{high:g}"

"""Collecting the parts of an integer program, with the stages and the widths of its accumulators."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.errors import GridError
from mpq_plugins.graph.accumulator import INT32_LIMIT
from mpq_plugins.graph.runtimes.runtime import Accumulation, Sum
from mpq_plugins.graph.runtimes.runtime import Product as ProductLaw
from mpq_plugins.grid import Grid
from mpq_plugins.hardware.op_support import Rounding
from mpq_plugins.integers import laws
from mpq_plugins.integers.program import Bias, Entrance, Layout, Program, Tensor, Weight
from mpq_plugins.integers.simplify import simplify
from mpq_plugins.integers.stages import MOST_LEFT
from mpq_plugins.integers.steps import Add, Clamp, Constant, Matmul, Product, Stage, Step

MOST_APART = 36
"""By how many powers of two the steps of an add may differ: codes of 8 bits are sums of 45 then.

Past 23 the sums need int64: a class token that nobody has trained beside the patches of a transformer."""
INT64_BITS = 62


def check_steps(grids: Mapping[str, Grid]) -> None:
    """Raise GridError, naming the sites, unless every step is a power of two."""
    free = [name for name, grid in grids.items() if not grid.is_power_of_two]
    if free:
        shown = ", ".join(free[:5]) + (f" and {len(free) - 5} more" if len(free) > 5 else "")
        raise GridError(
            f"{len(free)} of {len(grids)} sites have steps that are no powers of two ({shown}), and shifts cannot "
            "requantize them; search for a target of power-of-two grids, such as generic-po2"
        )


def exponents_of(grid: Grid) -> tuple[int, ...]:
    """Base-two logarithms of the steps."""
    return tuple(math.frexp(step)[1] - 1 for step in grid.steps)


@dataclass
class ProgramBuilder:
    """Collects the parts of a program, step by step; tensors have the names of sites where they can."""

    name: str
    target: str
    framework: str
    layout: Layout
    tensors: dict[str, Tensor] = field(default_factory=dict)
    weights: dict[str, Weight] = field(default_factory=dict)
    biases: dict[str, Bias] = field(default_factory=dict)
    inputs: list[Entrance] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    arrays: dict[str, NDArray[Any]] = field(default_factory=dict)

    def tensor(self, name: str, shape: Sequence[int], grid: Grid) -> str:
        """Add an activation and return its name, which gets a number where it is taken."""
        (exponent,) = exponents_of(grid)
        return self._add(Tensor(name, _whole(shape), grid.bits, grid.signed, exponent))

    def like(self, source: str, name: str, shape: Sequence[int]) -> str:
        """Add an activation on the grid of another and return its name."""
        return self._add(replace(self.tensors[source], name=name, shape=_whole(shape)))

    def _add(self, tensor: Tensor) -> str:
        free, count = tensor.name, 1
        while free in self.tensors:
            count += 1
            free = f"{tensor.name}__{count}"
        self.tensors[free] = replace(tensor, name=free)
        return free

    def weight(self, site: str, codes: NDArray[Any], grid: Grid) -> str:
        """Add the codes of a weight, output channels along axis 0, once; returns its name."""
        if site not in self.weights:
            self.weights[site] = Weight(site, codes.shape, grid.bits, exponents_of(grid))
            self.arrays[site] = np.ascontiguousarray(codes, dtype=np.int8 if grid.bits <= 8 else np.int16)
        return site

    def bias(self, site: str, values: NDArray[np.float64], weight: Grid, source: Grid) -> str:
        """Add a bias, [out] values on the accumulator's grid; returns its name. Raises GridError past int32."""
        exponents = tuple(e + exponents_of(source)[0] for e in exponents_of(weight))
        codes = np.rint(np.ldexp(values, -np.asarray(exponents)))
        largest = float(np.abs(codes).max(initial=0.0))
        if largest > INT32_LIMIT:
            raise GridError(
                f"site {site!r}: bias code {largest:.4g} does not fit int32 on the accumulator step "
                f"2^{min(exponents)}; give weight or input a larger threshold"
            )
        name = f"{site}.bias"
        self.biases[name] = Bias(name, exponents)
        self.arrays[name] = codes.astype(np.int32)
        return name

    def layer_stages(
        self,
        weight: str,
        bias: str,
        source: str,
        grid: Grid,
        rounding: Rounding,
        accumulation: Accumulation = "float32",
    ) -> tuple[tuple[Stage, ...], Any]:
        """The stages of a layer, and the bits of its accumulator, 32 or 64. rounding: the target's, for the op."""
        codes = self.arrays[weight].astype(np.int64)
        sums = np.abs(codes).reshape(len(codes), -1).sum(1) * self.tensors[source].largest
        bound = int((sums + np.abs(self.arrays[bias].astype(np.int64))).max(initial=0))
        (out,) = exponents_of(grid)
        shifts = [out - exponent for exponent in self.biases[bias].exponents]
        shifts = shifts * len(codes) if len(shifts) == 1 else shifts
        made = laws.ACCUMULATIONS[accumulation](shifts, bound, rounding)
        return (*made, Clamp(grid.low, grid.high)), _bits(bound)

    def add(self, output: str, inputs: tuple[str, str], grid: Grid, rounding: Rounding, how: Sum = "exact") -> None:
        """Add the step of an add onto a grid. rounding: the target's, which some ways of adding replace.

        Raises GridError for steps far apart.
        """
        sources = [self.tensors[name] for name in inputs]
        finest = min(source.exponent for source in sources)
        left = (sources[0].exponent - finest, sources[1].exponent - finest)
        if max(left) > MOST_APART:
            raise GridError(
                f"site {output!r} adds {inputs[0]!r} of step 2^{sources[0].exponent} and {inputs[1]!r} of step "
                f"2^{sources[1].exponent}, which lie more than 2^{MOST_APART} apart; bring their thresholds closer"
            )
        bound = sum(source.largest << by for source, by in zip(sources, left, strict=True))
        (out,) = exponents_of(grid)
        stages = (*laws.SUMS[how](out - finest, bound, rounding), Clamp(grid.low, grid.high))
        self.steps.append(Add(output, inputs, left, _bits(bound), stages))

    def multiply(
        self, output: str, inputs: tuple[str, str], grid: Grid, rounding: Rounding, how: ProductLaw = "exact"
    ) -> None:
        """Add the step of a product onto a grid. rounding: the target's, which some ways of multiplying replace."""
        sources = [self.tensors[name] for name in inputs]
        bound = sources[0].largest * sources[1].largest
        (out,) = exponents_of(grid)
        shift = out - sum(source.exponent for source in sources)
        stages = (*laws.PRODUCTS[how](shift, bound, rounding), Clamp(grid.low, grid.high))
        self.steps.append(Product(output, inputs, _bits(bound), stages))

    def matmul(
        self,
        output: str,
        inputs: tuple[str, str],
        inner: int,
        grid: Grid,
        rounding: Rounding,
        accumulation: Accumulation,
    ) -> None:
        """Add the step of matrix products onto a grid. inner: how many products each sum is of."""
        sources = [self.tensors[name] for name in inputs]
        bound = sources[0].largest * sources[1].largest * inner
        (out,) = exponents_of(grid)
        shift = out - sum(source.exponent for source in sources)
        stages = (*laws.ACCUMULATIONS[accumulation]([shift], bound, rounding), Clamp(grid.low, grid.high))
        self.steps.append(Matmul(output, inputs, _bits(bound), stages))

    def table(self, name: str, values: NDArray[np.integer[Any]]) -> str:
        """Add a table and return its name."""
        self.arrays[name] = values.astype(np.int32)
        return name

    def row_numbers(self, name: str, shape: Sequence[int], rows: int) -> None:
        """Add an input of whole numbers that name rows of a table; of several tables those that all of them have."""
        before = next((entrance for entrance in self.inputs if entrance.tensor == name), None)
        if before is None:
            name = self._add(Tensor(name, _whole(shape), max((rows - 1).bit_length(), 1), False, 0))
            self.inputs.append(Entrance(name, "half_even", 0, rows - 1, numbers_rows=True))
        elif rows - 1 < before.high:
            self.inputs[self.inputs.index(before)] = replace(before, high=rows - 1)

    def hidden(self, source: str, name: str, hidden: NDArray[np.bool_], below: int) -> str:
        """Add a tensor with a number below its codes where they are hidden: times zeros and ones, and a sum."""
        high = self.tensors[source].high
        kept = self.like(source, f"{name}.kept", self.tensors[source].shape)
        masked = self.like(source, f"{name}.masked", self.tensors[source].shape)
        self.tensors[masked] = replace(self.tensors[masked], bits=(-below - 1).bit_length() + 1, signed=True)
        constants = []
        for what, values, bits in (("shown", ~hidden, 1), ("hidden", below * hidden, self.tensors[masked].bits)):
            constant = self.like(source, f"{name}.{what}", hidden.shape)
            self.tensors[constant] = replace(self.tensors[constant], bits=bits, signed=bits > 1)
            self.arrays[f"{constant}.codes"] = np.asarray(values, np.int32)
            self.steps.append(Constant(constant, f"{constant}.codes"))
            constants.append(constant)
        self.steps.append(Product(kept, (source, constants[0]), 32, (Clamp(self.tensors[source].low, high),)))
        self.steps.append(Add(masked, (kept, constants[1]), (0, 0), 32, (Clamp(below, high),)))
        return masked

    def sum_bits(self, source: str, count: int) -> Any:
        """The bits, 32 or 64, that hold a sum of so many codes of a tensor."""
        return _bits(self.tensors[source].largest * count)

    def finish(self, outputs: Iterable[str], float_ops: Iterable[str] = ()) -> Program:
        """The program, with clamps fused into the steps before them."""
        return simplify(
            Program(
                self.name,
                self.target,
                self.framework,
                self.layout,
                tuple(self.tensors.values()),
                tuple(self.weights.values()),
                tuple(self.biases.values()),
                tuple(self.inputs),
                tuple(outputs),
                tuple(self.steps),
                tuple(float_ops),
                self.arrays,
            )
        )


def _whole(shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(int(size) for size in shape)


def _bits(bound: int) -> Any:
    if bound.bit_length() + MOST_LEFT > INT64_BITS:
        raise GridError(f"sums of up to {bound} do not fit an accumulator of 64 bits")
    return 32 if bound <= INT32_LIMIT else 64

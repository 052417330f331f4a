"""Runtime: how a runtime computes, as data. The words are functions of ``graph.arithmetic``."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from mpq_plugins.hardware.op_support import Rounding

Accumulation = Literal["float32", "fixed_point", "fixed_point_vectors", "fixed_point_upward"]
"""How an accumulator becomes codes. "float32": held as float32, times one float32 factor, rounded once;
"fixed_point": times a multiplier of 31 bits, half up, then shifted, half away from zero; "fixed_point_vectors": the
same, but shifted half up in the channels that fill vectors of eight; "fixed_point_upward": shifted half up in all."""

Sum = Literal["exact", "float32", "shared_shift", "fixed_point"]
"""How two activations are added. "exact" and "float32": in real numbers (of 24 bits), rounded once;
"shared_shift": both by integer multipliers over one power of two, half up; "fixed_point": onto a step 2**20 times
finer, each rounded as an accumulator is, and the sum too."""

Product = Literal["exact", "float32", "fixed_point"]
"""How two activations are multiplied. "exact" and "float32": the exact product of the codes times the steps' factor (in
24 bits), rounded by the target's rule; "fixed_point": the product of the codes is requantized as an accumulator of
that word is."""

Average = Literal["exact", "stored"]
"""How a window is averaged. "exact": the quotient, rounded once; "stored": of the codes as int8 holds them, whose zero
point decides about ties, half away from zero."""

Mean = Literal["exact", "reciprocal", "fixed_point"]
"""How a mean over axes is taken. "exact": the quotient, rounded once; "reciprocal": times the float32 nearest to
1 / count, half to even; "fixed_point": times a reciprocal of 31 bits, half up, then shifted, half away from zero."""

Law = Callable[..., Any]
"""A law that is no word: a function over the runner's arrays. A rounding is ``(run, x) -> whole numbers``; a sum and a
product take what those of ``graph.arithmetic`` do (Sum, Product). See docs/writing-a-runtime.md."""


Rule = Rounding | Law
"""How ties are rounded."""


def name_of_law(law: str | Law | None) -> str:
    """A word as it is, a function by its name."""
    return law if isinstance(law, str) else str(getattr(law, "__name__", law))


INPUT = "input"
Composition = tuple[tuple[str, tuple[str, ...]], ...]
"""An op in several steps: the word of each, and what it reads: what ``inputs_of`` names, or earlier words."""


def inputs_of(count: int) -> list[str]:
    """What a composition calls the inputs of an op.

    >>> inputs_of(3)
    ['input', 'input1', 'input2']
    """
    return [INPUT, *(f"{INPUT}{index}" for index in range(1, count))]


LOOKUP = "lookup"
"""The word of all functions of one element in a runtime's rounding."""

GROUPED = ("conv1d", "conv2d")
"""Convolutions that may be in several groups, neither one nor one per channel."""

LAYER = "layer"
"""The word of all ops with a weight in a runtime's limits."""


@dataclass(frozen=True)
class Entry:
    """How a float tensor becomes codes.

    by: "quotient" (divided by the step) or "reciprocal" (times the float32 nearest to 1 / step).
    zero_point: whether the zero point of the container is added before rounding, in float32: a value just below a
        tie then becomes the tie.
    """

    by: Literal["quotient", "reciprocal"] = "quotient"
    zero_point: bool = False


@dataclass(frozen=True)
class Runtime:
    """One runtime.

    framework, engine: what a target's ``runtime`` says. entry: of float tensors.
    rounding: of ties, in a word or by a function, by the word that targets have for the op; LOOKUP for functions of
        one element, "*" for all others, and where there is none, the target decides. Where a law below rounds twice,
        or codes that are shifted, the rule that it comes nearest to.
    accumulation: by op word; "*" for all others; grouped: of convolutions in groups, where that is another; shifted: of
        matrix products whose second operand lies on an unsigned grid, stored about a zero point, where that is another.
    sums: of two activations of one shape; broadcast_rounding: of those of different shapes, where that is another than
        that of "add". products, averages, means: see the words; sums and products may be functions too.
    longest_products: how many products of codes of 8 bits a matrix product of two activations may sum up, where that is
        in float32; None where it is in integers.
    gains: by op word, the least step of an operand, over that of the output, that its own kernel takes, and the first
        that it takes no more; of a product the step of both operands' product. others: the word of the kernels that
        compute sums and products at all other gains.
    limits: by op word, LAYER for all with a weight, the least gain that anything computes rightly, and the first that
        nothing does; of two activations of one shape where broadcast_rounding is given.
    tables: whether functions of one element can be looked up, code by code; else each runs as its own kernel.
    rows: whether whole numbers that a model is given look up rows of a table of codes.
    functions: of one element, whose own kernels give the table's codes on all grids; others are written as tables.
    compositions: by op word, the steps that compute it, each of which rounds onto a grid of its own.
    lacks: words of functions of one element that it takes apart in ways that round in between.
    """

    framework: str
    engine: str
    entry: Entry = Entry()
    rounding: Mapping[str, Rule] = field(default_factory=lambda: {"*": "half_even"})
    accumulation: Mapping[str, Accumulation] = field(default_factory=lambda: {"*": "float32"})
    grouped: Accumulation | None = None
    shifted: Accumulation | None = None
    sums: Sum | Law = "exact"
    broadcast_rounding: Rounding | None = None
    products: Product | Law = "exact"
    averages: Average = "exact"
    means: Mean = "exact"
    longest_products: int | None = None
    gains: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    others: Literal["exact", "fixed_point"] = "exact"
    limits: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    tables: bool = True
    rows: bool = False
    functions: tuple[str, ...] = ()
    compositions: Mapping[str, Composition] = field(default_factory=dict)
    lacks: tuple[str, ...] = ()

    def accumulates(self, op: str, grouped: bool = False) -> Accumulation:
        """How the accumulator of an op becomes codes; grouped: of a convolution in several groups."""
        if grouped and self.grouped is not None:
            return self.grouped
        return self.accumulation.get(op, self.accumulation["*"])

    def sums_at(self, gains: Sequence[float]) -> Sum | Law:
        """How two activations are added, of whose steps over that of the sum these are."""
        return self.sums if self._own("add", gains) else self.others

    def products_at(self, gain: float) -> Product | Law:
        """How two activations are multiplied, the product of whose steps over that of the output this is."""
        return self.products if self._own("mul", (gain,)) else self.others

    def _own(self, op: str, gains: Sequence[float]) -> bool:
        least, beyond = self.gains.get(op, (0.0, math.inf))
        return all(least <= gain < beyond for gain in gains)

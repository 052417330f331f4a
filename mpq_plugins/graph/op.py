"""Op: all that is known of a kind of node, but for what a runtime does differently."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from mpq_plugins.graph.integer_steps import IntegerSteps
from mpq_plugins.graph.node import Node

AxisAttribute = Literal["one", "several", "each"]
"""What an attr says of axes: the number of one, the numbers of several, or a value for each."""

Value = Callable[..., Any]
"""``value(runner, node, *inputs)``: the output of a node in real arithmetic, before its clamp."""


def any_negative(node: Node, signs: Sequence[bool]) -> bool:
    """Below zero comes out where below zero goes in."""
    return any(signs)


def always(node: Node, signs: Sequence[bool]) -> bool:
    """Values below zero can come out of whatever goes in."""
    return True


def never(node: Node, signs: Sequence[bool]) -> bool:
    """Nothing below zero comes out."""
    return False


def no_attributes(attrs: Mapping[str, Any]) -> dict[str, Any]:
    """Those of an operator that takes none."""
    return {}


@dataclass(frozen=True)
class Op:
    """The record of an op.

    word: what graphs call it.
    value: the real function, once for all frameworks.
    arity: number of inputs; None for any.
    grid: of the output. "own": a site of its own; "input": the grid of the one input; "all": inputs and output
        share one; "alias": that of the input, whose buffer it is too, so that it is no site.
    weighted: whether it multiplies with a weight. table: whether it is a function of one element, so that on a grid
        it is a table of codes, and that of ``value`` in NumPy's float64 is its definition.
    rounds: whether the output leaves the input's grid before it is rounded (averages do).
    images: whether it looks at rows and columns, so that the layout matters.
    ordered: whether the order of all axes is part of what it does. axes: attrs that speak of axes.
    attrs: names of the attrs that say which function of one element it is.
    passes_scales: whether scaling a channel of the input scales that of the output alike.
    negative: whether values below zero can come out, from whether they go in.
    target: the word that targets know it by, where that is another. spellings: by framework or format, the names
        by which it is known there.
    steps: of an op of several inputs that nobody has a kernel of: the words that compute it, one after another, each
        of which rounds onto a grid of its own; it reads "input" (the first), "input1" and so on, and earlier words.
    integers: adds the op's step to an integer program; None for none, and for a table, which is looked up.
    onnx, litert: the attributes, or options, of the operator of that spelling there, from the node's attrs.
    """

    word: str
    value: Value
    arity: int | None = 1
    grid: Literal["own", "input", "all", "alias"] = "own"
    weighted: bool = False
    table: bool = False
    rounds: bool = False
    images: bool = False
    ordered: bool = False
    axes: Mapping[str, AxisAttribute] = field(default_factory=dict)
    attrs: tuple[str, ...] = ()
    passes_scales: bool = False
    negative: Callable[[Node, Sequence[bool]], bool] = any_negative
    target: str = ""
    spellings: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    steps: tuple[tuple[str, tuple[str, ...]], ...] = ()
    integers: Callable[[IntegerSteps, Node], None] | None = None
    onnx: Callable[[Mapping[str, Any]], dict[str, Any]] = no_attributes
    litert: Callable[[Mapping[str, Any]], dict[str, Any]] = no_attributes

    @property
    def target_word(self) -> str:
        """The word that targets know the op by."""
        return self.target or self.word

    @property
    def computes(self) -> bool:
        """Whether the op does arithmetic on codes rather than pass them on."""
        return self.grid == "own" or self.rounds

"""Pairs: the two neighbouring candidates between which a tensor stands, as arrays that never change shape."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.array_ops.protocol import Array, Ops
from mpq_plugins.papers.dorefa import quantize_unit
from mpq_plugins.training.bank import Bank
from mpq_plugins.training.grids import Grids
from mpq_plugins.training.layout import Extent
from mpq_plugins.training.method import Arrays
from mpq_plugins.training.regularizers import bin_regularization

UnitOf = Callable[[Ops, Array, Array], Array]
"""From a weight and its bits to [0, 1]."""


@dataclass(frozen=True)
class Choices:
    """Who chooses in a bank: its groups, or their channels. Constants: [choices, candidates]."""

    ops: Ops
    bank: Bank
    extent: Extent

    def end(self, state: Arrays, index: Array) -> End:
        """The candidates at ``index``, whole numbers as floats, [choices]."""
        ops = self.ops
        mask = ops.cast(ops.abs(state["places"] - ops.reshape(index, [-1, 1])) < 0.5, index)
        bits, low, high = (ops.sum(mask * state[name], axis=-1) for name in ("candidates", "lows", "highs"))
        mask = self.by_channel(mask)
        return End(mask, bits, low, high, ops.sum(mask * state["steps"], axis=-1))

    def pair(self, state: Arrays) -> tuple[End, End]:
        """Both ends of every choice; at the lowest candidate both are one."""
        ops, pair = self.ops, state["pair"]
        return self.end(state, pair), self.end(state, ops.maximum(pair - 1.0, pair * 0.0))

    def widest(self, state: Arrays, index: Array) -> tuple[Array, Array, Array]:
        """Low, high and bits, [groups], of the largest candidate that any choice of a group is at."""
        ops, bank = self.ops, self.bank
        reached = ops.cast(ops.reshape(index, [-1, 1]) > state["places"] - 0.5, index)
        reached = ops.cast(bank.total(ops, reached, self.extent, "group") > 0.5, index)
        largest = ops.sum(reached, axis=-1) - 1.0
        mask = ops.cast(ops.abs(state["places"] - ops.reshape(largest, [-1, 1])) < 0.5, index)
        low, high, bits = (ops.sum(mask * values, axis=-1) for values in (bank.low, bank.high, state["bits"]))
        return low, high, bits

    def by_channel(self, values: Array) -> Array:
        """[choices] for every channel."""
        return self.bank.spread(self.ops, values, self.extent, "channel")

    def error(self, x: Array, quantized: Array, by: Extent) -> Array:
        """Mean squared error of elements."""
        difference = x - quantized
        return self.bank.mean(self.ops, difference * difference, "element", by)

    def by_element(self, values: Array, extent: Extent) -> Array:
        """Rows for every element."""
        return self.bank.spread(self.ops, values, extent, "element")

    def unit_error(self, x: Array, end: End, unit_of: UnitOf) -> Array:
        """The error of a quantizer in [0, 1] that looks at a whole tensor: of one group after the other."""
        ops, parts, quantized = self.ops, [], []
        bits = self.by_element(end.bits, self.extent)
        for index in range(len(self.bank.slots)):
            rows = self.bank.layout.rows("element", index)
            unit = unit_of(ops, x[rows], bits[rows])
            parts.append(2.0 * unit - 1.0)
            quantized.append(quantize_unit(ops, unit, bits[rows]))
        return self.error(ops.concat(parts), ops.concat(quantized), self.extent)


@dataclass(frozen=True)
class End:
    """One candidate of each choice. mask: one-hot, [channels, candidates]. bits, low, high: [choices].

    step: [channels]. Free of gradients.
    """

    mask: Array
    bits: Array
    low: Array
    high: Array
    step: Array


def constants_of(bank: Bank, extent: Extent) -> dict[str, NDArray[Any]]:
    """Place, bits and codes of every candidate, for each choice."""
    counts = bank.layout.counts(extent)
    rows = {
        "candidates": [slot.bits for slot in bank.slots],
        "lows": [[slot.low(b) for b in slot.bits] for slot in bank.slots],
        "highs": [[slot.high(b) for b in slot.bits] for slot in bank.slots],
    }
    found = {name: np.repeat(np.asarray(values, np.float32), counts, axis=0) for name, values in rows.items()}
    alike = {"places": np.arange(len(bank.bits)), "bits": np.asarray(bank.bits)}
    return found | {name: values.astype(np.float32) for name, values in alike.items()}


def better_step(
    choices: Choices, x: Array, quantized: Array, step: Array, codes: tuple[Array, Array], probe: Array
) -> Array:
    """Twice the step (probe 1) or half of it (probe -1) where that has the lower squared error; else the step.

    One look at one neighbour a training step is enough to follow a weight, and costs one quantization.
    x, quantized: [elements], without gradient; codes: for each. step: [channels]. probe: [groups].

    >>> from mpq_plugins.hardware.op_support import Candidate
    >>> from mpq_plugins.array_ops.reference import NUMPY
    >>> from mpq_plugins.training.slot import Slot
    >>> import numpy as np
    >>> x = np.array([-2.0, 2.0, 4.0])
    >>> bank = Bank.of([Slot("w", "weight", (3,), (Candidate(3, True, False),))])
    >>> choices = Choices(NUMPY, bank, "group")
    >>> better_step(choices, x, np.clip(x, -4, 3), np.ones(1), (-4, 3), np.ones(1)).tolist()
    [2.0]
    """
    ops = choices.ops
    other = step * (1.25 + 0.75 * choices.bank.spread(ops, probe, "group", "channel"))
    tried = ops.fake_quantize(x, choices.by_element(other, "channel"), *codes)
    lower = choices.error(x, tried, "channel") < choices.error(x, quantized, "channel")
    return ops.where(lower, other, step)


def follow(
    choices: Choices, x: Array, state: Arrays, ends: tuple[End, End], outcomes: Sequence[Array]
) -> dict[str, Array]:
    """The squared errors of both ends relative to the mean square, and their steps after ``better_step``.

    x, outcomes (x at each end): [elements], without gradient.
    """
    ops = choices.ops
    size = choices.error(x, 0.0, choices.extent)
    size = ops.maximum(size, 1e-30)
    errors = [choices.error(x, outcome, choices.extent) / size for outcome in outcomes]
    steps, taken = state["steps"], 0.0
    for end, outcome in zip(ends, outcomes, strict=True):
        codes = choices.by_element(end.low, choices.extent), choices.by_element(end.high, choices.extent)
        better = better_step(choices, x, outcome, end.step, codes, state["probe"])
        mask = end.mask * (1.0 - taken)  # at the lowest candidate both ends are one
        steps = steps + mask * ops.reshape(better - end.step, [-1, 1])
        taken = taken + mask
    return {"errors": ops.stack(errors, axis=1), "steps": steps, "probe": -state["probe"]}


def follow_one(ops: Ops, bank: Bank, x: Array, state: Arrays) -> dict[str, Array]:
    """The step of the only candidate after ``better_step``."""
    choices, codes, step = Choices(ops, bank, "group"), bank.layout.codes[0], state["steps"][:, 0]
    outcome = ops.fake_quantize(x, choices.by_element(step, "channel"), *codes)
    step = better_step(choices, x, outcome, step, codes, state["probe"])
    return {"steps": ops.reshape(step, [-1, 1]), "probe": -state["probe"]}


def watch(
    choices: Choices, x: Array, state: Arrays, ends: tuple[End, End], grids: Sequence[Grids], unit_of: UnitOf | None
) -> dict[str, Array]:
    """The relative errors of both candidates, and their steps after a look at a neighbour of each (``follow``).

    grids: of both, by channel. unit_of: of a quantizer in [0, 1], which has no steps.
    """
    ops, bank = choices.ops, choices.bank
    if unit_of is not None:
        errors = [choices.unit_error(x, end, unit_of) for end in ends]
        return {"errors": ops.stack(errors, axis=1)}
    outcomes = [
        ops.fake_quantize(x, *(bank.spread(ops, v, "channel", "element") for v in (g.step, g.low, g.high)))
        for g in grids
    ]
    return follow(choices, x, state, ends, outcomes)


def unit_bins(ops: Ops, bank: Bank, x: Array, unit_of: UnitOf) -> Array:
    """Bin regularization of a quantizer in [0, 1], in the units of its levels from -1 to 1, at one candidate."""
    total, bits = 0.0, bank.bits[0]
    for index in range(len(bank.slots)):
        unit = unit_of(ops, x[bank.layout.rows("element", index)], float(bits))
        total = total + bin_regularization(ops, unit, 1.0 / (2**bits - 1), 0, 2**bits - 1)
    return 4.0 * total


def distances(
    share: NDArray[Any], pair: NDArray[Any], candidates: int, initial: float, final: float
) -> NDArray[np.float64]:
    """How far each candidate is from where the choices stand, mean over channels, in log-odds.

    share: of the upper end. A whole pair is as long as the way of a share from ``initial`` to ``final``.
    """
    whole = math.log(initial / (1.0 - initial)) - math.log(final / (1.0 - final))
    within = np.clip(np.log(share / (1.0 - share)) / whole, -0.5, 0.5)
    position = np.where(pair > 0, pair - 0.5 + within, 0.0)
    return np.array([whole * float(np.abs(position - k).mean()) for k in range(candidates)])

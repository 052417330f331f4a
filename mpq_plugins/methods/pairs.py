"""Pairs: the two neighbouring candidates between which a tensor stands, as arrays that never change shape."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.ops import Array, Ops
from mpq_plugins.training.method import Arrays
from mpq_plugins.training.slot import Slot


@dataclass(frozen=True)
class End:
    """One candidate of each choice: of the tensor ([]), or of each channel ([channels]).

    mask: one-hot over candidates, [candidates] or [candidates, channels]. bits, low, high: of the choice's
    shape. step: [] or [channels]. Free of gradients.
    """

    mask: Array
    bits: Array
    low: Array
    high: Array
    step: Array

    @classmethod
    def of(cls, ops: Ops, slot: Slot, index: Array, steps: Array) -> End:
        """The candidates at ``index``, whole numbers as floats, [] or [channels]; steps: of all candidates."""
        count = len(slot.bits)

        def column(values: list[int]) -> Array:
            return ops.reshape(ops.array(values, index), [count] + [1] * len(index.shape))

        mask = ops.cast(ops.abs(column(list(range(count))) - index) < 0.5, like=index)
        bits, low, high = (
            ops.sum(mask * column([of(b) for b in slot.bits]), axis=0) for of in (int, slot.low, slot.high)
        )
        return cls(mask, bits, low, high, ops.sum(over_steps(ops, mask, steps) * steps, axis=0))


def over_steps(ops: Ops, mask: Array, steps: Array) -> Array:
    """A mask that broadcasts against the steps of all candidates, where only those have channels."""
    return ops.reshape(mask, [-1, 1]) if len(mask.shape) < len(steps.shape) else mask


def squared_error(ops: Ops, slot: Slot, x: Array, quantized: Array, by_channel: bool) -> Array:
    """Mean squared error, [] or [channels]."""
    difference = x - quantized
    return ops.mean(difference * difference, axis=slot.other_axes if by_channel else None)


def better_step(
    ops: Ops, slot: Slot, x: Array, quantized: Array, step: Array, codes: tuple[Array, Array], probe: Array
) -> Array:
    """Twice the step (probe 1) or half of it (probe -1) where that has the lower squared error; else the step.

    One look at one neighbour a training step is enough to follow a weight, and costs one quantization.
    x, quantized: without gradient. step: [] or [channels].

    >>> from mpq_plugins.capabilities import Candidate
    >>> from mpq_plugins.ops import NUMPY
    >>> import numpy as np
    >>> x = np.array([-2.0, 2.0, 4.0])
    >>> slot = Slot("w", "weight", (3,), (Candidate(3, True, False),))
    >>> float(better_step(NUMPY, slot, x, np.clip(x, -4, 3), np.float64(1), (-4, 3), np.float64(1)))
    2.0
    """
    by_channel = slot.axis is not None
    other = step * (1.25 + 0.75 * probe)
    tried = ops.fake_quantize(x, slot.spread(ops, other), *codes)
    lower = squared_error(ops, slot, x, tried, by_channel) < squared_error(ops, slot, x, quantized, by_channel)
    return ops.where(lower, other, step)


def follow(
    ops: Ops, slot: Slot, x: Array, state: Arrays, ends: tuple[End, End], outcomes: Sequence[Array]
) -> dict[str, Array]:
    """The squared errors of both ends relative to the mean square, and their steps after ``better_step``.

    x, outcomes (x at each end): without gradient.
    """
    by_channel = len(state["pair"].shape) > 0
    size = ops.maximum(squared_error(ops, slot, x, 0.0, by_channel), ops.array(1e-30, x))
    errors = [squared_error(ops, slot, x, outcome, by_channel) / size for outcome in outcomes]
    steps, taken = state["steps"], 0.0
    for end, outcome in zip(ends, outcomes, strict=True):
        codes = slot.spread(ops, end.low), slot.spread(ops, end.high)
        better = better_step(ops, slot, x, outcome, end.step, codes, state["probe"])
        mask = over_steps(ops, end.mask, steps) * (1.0 - taken)  # at the lowest candidate both ends are one
        steps = steps + mask * (better - end.step)
        taken = taken + mask
    return {"errors": ops.stack(errors), "steps": steps, "probe": -state["probe"]}


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

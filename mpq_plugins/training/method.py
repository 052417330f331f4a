"""TrainingMethod: what a method that trains grids consists of. A new paper is one subclass in one file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.grid import Grid
from mpq_plugins.ops import Array, Ops
from mpq_plugins.training.slot import Observed, Slot

Arrays = Mapping[str, Array]
Numbers = Mapping[str, NDArray[Any]]
NOISE = "noise"
"""Name of the state that holds the uniform draws of this step."""


@dataclass(frozen=True)
class Start:
    """Where training starts. parameters: learned, float32. state: kept beside them, never learned.

    Shapes stay as they are for the whole training.
    """

    parameters: Numbers = field(default_factory=dict)
    state: Numbers = field(default_factory=dict)


@dataclass(frozen=True)
class Progress:
    """Where a training is: ``step`` optimizer steps of the ``steps`` of the search are done.

    epoch_steps: steps of one pass over the data, for schedules that are stated in epochs.

    >>> Progress(250, 1000, 100).fraction
    0.25
    """

    step: int
    steps: int
    epoch_steps: int

    @property
    def fraction(self) -> float:
        """Share of the search that is done, 0 .. 1."""
        return min(1.0, self.step / max(1, self.steps))


@dataclass(frozen=True)
class Spent:
    """What the choice of the moment costs of one limited resource.

    cost: a scalar array with gradient, in the resource's unit. limit: the budget's. float_cost: what a
    float model (32 bits everywhere) costs of it, so float_cost / cost is a compression rate.
    """

    resource: str
    cost: Array
    limit: float
    float_cost: float


class TrainingMethod:
    """A way to train grids, written once for every framework; a value: hyper-parameters and pure functions.

    Subclass it as a frozen dataclass whose fields are hyper-parameters, give ``name``, ``summary`` and
    ``paper``, and override what the paper changes. What is here trains at fixed bits and does nothing else.

    parameters and state are mappings from names to arrays of the framework; functions that return
    ``updates`` return new values of some of the state, and the adapter stores them.
    Everything in ``controls`` becomes state too, as scalars, before the first step and after each.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    paper: ClassVar[str] = ""
    kind: ClassVar[str] = "training"
    searches_bits: ClassVar[bool] = False
    """Whether it chooses among several candidate bit-widths."""
    needs_gradient: ClassVar[bool] = False
    """Whether ``after_backward`` wants the upstream gradient of the quantized tensor."""

    def start(self, slot: Slot, observed: Observed) -> Start:
        """Parameters and state before the first step.

        observed: the weight itself, or a Histogram of the activation. Raises NonFiniteValues; an
        all-zero tensor is legal.
        """
        raise NotImplementedError

    def settled_bits(self, slots: Sequence[Slot], limits: Mapping[str, float]) -> Mapping[str, int]:
        """Bits that a rule fixes before training, by slot name; the others are left to training.

        limits: of the budget, by resource.
        """
        return {}

    def noise_shape(self, slot: Slot) -> tuple[int, ...] | None:
        """Shape of the uniform [0, 1) draws that ``quantize`` finds in ``state["noise"]``; None for none.

        The adapter draws them once for each step, the same on every replica.
        """
        return None

    def controls(self, slot: Slot, progress: Progress) -> Mapping[str, float]:
        """What the schedule prescribes at this point, by name."""
        return {}

    def quantize(
        self, ops: Ops, slot: Slot, x: Array, parameters: Arrays, state: Arrays, training: bool
    ) -> tuple[Array, Arrays]:
        """The tensor on its grid of the moment, and updates of the state (training only).

        training False: deterministic, and exactly the grid that ``harden`` returns.
        """
        raise NotImplementedError

    def expected_bits(self, ops: Ops, slot: Slot, parameters: Arrays, state: Arrays) -> Array:
        """Bits of the moment, with gradient: a scalar, or [channels] where channels differ."""
        like = next(iter(parameters.values()), next(iter(state.values()), np.float32(0)))
        return ops.array(float(slot.bits[-1]), like)

    def regularization(self, ops: Ops, slot: Slot, x: Array, parameters: Arrays, state: Arrays) -> Array | None:
        """A loss term of one weight; None for none."""
        return None

    def penalty(self, ops: Ops, spent: Sequence[Spent], state: Arrays) -> Array:
        """The loss term of the budget: zero, with zero gradient, while every cost is within its limit.

        state: the controls of the moment.
        """
        return 0.0

    def after_backward(
        self, ops: Ops, slot: Slot, x: Array, gradient: Array, parameters: Arrays, state: Arrays
    ) -> Arrays:
        """Updates of the state from the gradient at the quantized tensor (needs_gradient)."""
        return {}

    def after_step(
        self, ops: Ops, slot: Slot, parameters: Arrays, previous: Arrays, state: Arrays
    ) -> tuple[Arrays, Arrays]:
        """New parameters and updates of the state after the optimizer's step: projections, transitions.

        previous: the parameters as they were after the last call. Only what changes is returned.
        """
        return {}, {}

    def preferences(self, slot: Slot, parameters: Numbers, state: Numbers) -> Mapping[int, float]:
        """For each candidate, what one element would lose by it beside the method's own choice, which costs 0.

        A search takes its own choice where the budget allows it, and else the cheapest change that fits.
        """
        return dict.fromkeys(slot.bits, 0.0)

    def harden(self, slot: Slot, parameters: Numbers, state: Numbers, bits: int | None = None) -> Grid:
        """The grid at which training stands; ``bits`` to ask for another width than the method's own choice."""
        raise NotImplementedError

    def gradient_scale(self, slot: Slot) -> float:
        """Learning rate of this slot's parameters, as a multiple of the network's."""
        return 1.0

"""TrainingMethod: what a method that trains grids consists of. A new paper is one subclass in one file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from numpy.typing import NDArray

from mpq_plugins.array_ops.protocol import Array, Ops
from mpq_plugins.grid import Grid
from mpq_plugins.training.bank import Bank
from mpq_plugins.training.grids import Grids
from mpq_plugins.training.layout import Extent
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
    float model (32 bits everywhere) costs of it, so float_cost / cost is a compression rate. unit: the
    resource's, bits or bytes or another.
    """

    resource: str
    cost: Array
    limit: float
    float_cost: float
    unit: str = ""


class TrainingMethod:
    """A way to train grids, written once for every framework; a value: hyper-parameters and pure functions.

    Subclass it as a frozen dataclass whose fields are hyper-parameters, give ``name``, ``summary`` and
    ``paper``, and override what the paper changes. What is here trains at fixed bits and does nothing else.

    What is asked once is asked of each group, in NumPy: start, settled_bits, preferences, harden. What is
    asked at every step is asked of a bank: every array has the rows of all its groups along its first axis,
    and what a row stands for is its extent (layout.Extent), which ``extents`` names for each parameter and
    each piece of state. A bank of three groups gives what three banks of one do, in any order.

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
    pressure: ClassVar[str] = ""
    """The hyper-parameter that makes the penalty of the budget heavier, for messages."""
    needs_gradient: ClassVar[bool] = False
    """Whether ``after_backward`` wants the upstream gradients of the quantized weights."""

    # of one group, once

    def start(self, slot: Slot, observed: Observed) -> Start:
        """Parameters and state before the first step, each of the group's own shape for its extent.

        observed: the weight itself, or a Histogram of the activation. Raises NonFiniteValues; an
        all-zero tensor is legal.
        """
        raise NotImplementedError

    def fitted(self, slots: Sequence[Slot]) -> TrainingMethod:
        """The method for a network of these slots, for one that has to know what a single group does not tell."""
        return self

    def settled_bits(self, slots: Sequence[Slot], limits: Mapping[str, float]) -> Mapping[str, int]:
        """Bits that a rule fixes before training, by slot name; the others are left to training.

        limits: of the budget, by resource.
        """
        return {}

    def check_budget(self, units: Mapping[str, str]) -> None:
        """Raise MPQError where the method cannot serve a budget of these resources; the unit of each is given."""

    def preferences(self, slot: Slot, parameters: Numbers, state: Numbers) -> Mapping[int, float]:
        """For each candidate, what one element would lose by it beside the method's own choice, which costs 0.

        A search takes its own choice where the budget allows it, and else the cheapest change that fits.
        """
        return dict.fromkeys(slot.bits, 0.0)

    def harden(self, slot: Slot, parameters: Numbers, state: Numbers, bits: int | None = None) -> Grid:
        """The grid at which training stands; ``bits`` to ask for another width than the method's own choice."""
        raise NotImplementedError

    def settles_at(self) -> float | None:
        """Share of the search after which choices stay; None for a method that chooses nothing.

        There the host lets every group settle on bits that use the budget (``settled``), and from there on the
        method trains at its choice (its schedule says so in ``controls``).
        """
        return None

    def least_steps(self, bits: Sequence[int], wanted: float) -> int:
        """Steps of a search in which a group of these candidates can get from where it starts to ``wanted`` bits.

        At the method's fastest pace; 0 where nothing is known. A shorter search is told so before it begins.
        """
        return 0

    def settled(self, slot: Slot, parameters: Numbers, state: Numbers, grid: Grid) -> Start:
        """Parameters and state of which ``harden`` makes this grid, with nothing left open.

        grid: of one of the slot's candidates. Asked once a search, of groups with several candidates. What is
        returned may be a part of them.
        """
        return Start()

    def gradient_scale(self, bank: Bank) -> float:
        """Learning rate of this bank's parameters, as a multiple of the network's."""
        return 1.0

    # of a bank, once

    def extents(self, bank: Bank) -> Mapping[str, Extent]:
        """What the rows of each parameter and of each piece of state stand for, by name.

        Beyond its extent an array may have further axes, as long in every group of the bank.
        """
        return {}

    def constants(self, bank: Bank) -> Numbers:
        """Arrays that the functions below find among the state, and that nobody changes or saves."""
        return {}

    def noise(self, bank: Bank) -> tuple[Extent, tuple[int, ...]] | None:
        """Extent and further axes of the uniform [0, 1) draws in ``state["noise"]``; None for none.

        They are a function of seed, group, row and step (training.noise), so the same on every replica.
        """
        return None

    def draws_as(self, slot: Slot) -> str:
        """Whose draws a group takes: groups of the same answer draw alike."""
        return slot.name

    def follows_weights(self, bank: Bank) -> bool:
        """Whether ``grids`` and ``after_backward`` read the weights of a bank in training."""
        return False

    def regularizes_weights(self, bank: Bank) -> bool:
        """Whether ``regularization`` reads the weights of a bank."""
        return False

    def has_own_quantizer(self, bank: Bank) -> bool:
        """Whether ``quantize_tensor`` stands in for the one primitive, ops.fake_quantize."""
        return False

    # of a bank, at every step

    def controls(self, bank: Bank, progress: Progress) -> Mapping[str, float]:
        """What the schedule prescribes at this point, by name."""
        return {}

    def grids(
        self, ops: Ops, bank: Bank, x: Array, parameters: Arrays, state: Arrays, training: bool
    ) -> tuple[Sequence[Grids], Arrays]:
        """The grids of the moment, and updates of the state (training only).

        x: the weights, [elements], without gradient, where ``follows_weights`` and training; else None.
        Several grids: a tensor is the sum of what each makes of it, times its share.
        training False: deterministic, one grid, and exactly the one that ``harden`` returns.
        """
        raise NotImplementedError

    def quantize_tensor(self, ops: Ops, x: Array, grid: Grids) -> Array:
        """One tensor on one grid, whose arrays broadcast against it (has_own_quantizer)."""
        raise NotImplementedError

    def expected_bits(self, ops: Ops, bank: Bank, parameters: Arrays, state: Arrays) -> Array:
        """Bits of the moment, with gradient, [groups]: the mean where channels differ."""
        return bank.most_bits

    def regularization(self, ops: Ops, bank: Bank, x: Array, parameters: Arrays, state: Arrays) -> Array | None:
        """A loss term of the weights of a bank; None for none. x: the weights, [elements] (regularizes_weights)."""
        return None

    def penalty(self, ops: Ops, spent: Sequence[Spent], state: Arrays) -> Array:
        """The loss term of the budget: zero, with zero gradient, while every cost is within its limit.

        state: the controls of the moment.
        """
        return 0.0

    def after_backward(
        self, ops: Ops, bank: Bank, x: Array, gradient: Array, parameters: Arrays, state: Arrays
    ) -> Arrays:
        """Updates of the state from the gradients at the quantized weights, [elements] (needs_gradient)."""
        return {}

    def after_step(
        self, ops: Ops, bank: Bank, parameters: Arrays, previous: Arrays, state: Arrays
    ) -> tuple[Arrays, Arrays]:
        """New parameters and updates of the state after the optimizer's step: projections, transitions.

        previous: the parameters as they were after the last call. Only what changes is returned.
        """
        return {}, {}


class HasTraining(Protocol):
    """A method of another kind, whose paper may have one while training."""

    @property
    def training(self) -> TrainingMethod | None: ...


def training_of(method: TrainingMethod | HasTraining) -> TrainingMethod | None:
    """What trains of a method: itself, or the same paper's method while training; None where nothing does."""
    return method if isinstance(method, TrainingMethod) else method.training


def check_contract(method: TrainingMethod) -> str | None:
    """What in a method is of a contract that no longer is, in words; None where nothing is.

    >>> class Old(TrainingMethod):
    ...     def quantize(self, ops, slot, x, parameters, state, training): ...
    >>> check_contract(Old())
    "its quantize() is no longer called: return the bank's grids from grids() (docs/writing-a-method.md)"
    """
    old = {
        "quantize": "return the bank's grids from grids()",
        "noise_shape": "return extent and further axes from noise()",
    }
    for name, instead in old.items():
        if callable(getattr(type(method), name, None)):
            return f"its {name}() is no longer called: {instead} (docs/writing-a-method.md)"
    return None


def on_grids(ops: Ops, method: TrainingMethod, bank: Bank, index: int, grids: Sequence[Grids], tensor: Array) -> Array:
    """The tensor of one group of a bank, on what ``grids`` gives it."""
    total: Array = 0.0
    for grid in grids:
        own = grid.of(ops, bank, index)
        if method.has_own_quantizer(bank):
            outcome = method.quantize_tensor(ops, tensor, own)
        else:
            options = own.rounding, own.delta, own.strict, own.clip_first
            outcome = ops.fake_quantize(tensor, own.step, own.low, own.high, *options)
        if own.share is None:
            return outcome
        total = total + own.share * outcome
    return total

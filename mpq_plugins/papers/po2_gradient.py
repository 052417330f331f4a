"""po2_gradient: fixed bits, and a power-of-two step whose exponent is learned by gradient.

The gradient half of "A Closer Look at Hardware-Friendly Weight Quantization" (2210.03671), after TQT
(1903.08066): a real exponent per tensor or channel, rounded to the neighbour of lower squared error;
outliers and the second moments of the gradient weigh that error; the exponent is frozen at its moving
average for the end of the training. Ours: the exponent's gradient is divided by sqrt(elements * codes)
(LSQ, 1902.08153), so that one learning rate serves every tensor and optimizer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.array_ops.protocol import Array, Ops
from mpq_plugins.errors import MPQError, NonFiniteValues
from mpq_plugins.grid import Grid
from mpq_plugins.plugins.hookspecs import hookimpl
from mpq_plugins.thresholds.search import search_threshold
from mpq_plugins.training.bank import Bank
from mpq_plugins.training.exponents import (
    DECAY_MOMENTS,
    DECAY_STABLE,
    SMALLEST,
    Weights,
    exponent_of,
    importance_of,
    lower_error_of_two,
    moved_moments,
    within_range,
)
from mpq_plugins.training.grids import Grids
from mpq_plugins.training.hyper_parameters import check_ranges
from mpq_plugins.training.layout import Extent
from mpq_plugins.training.method import Arrays, Numbers, Progress, Start, TrainingMethod
from mpq_plugins.training.pace import AUDIBLE, paced
from mpq_plugins.training.slot import Observed, Slot

MINIMUM_STEP = 1e-5
ROUNDINGS = ("msqe", "ceil", "round")


@dataclass(frozen=True)
class Po2Gradient(TrainingMethod):
    """Learned exponents. A weight's is rounded as ``rounding`` says, an activation's always up.

    rounding: "msqe" (Round-to-Lower-MSQE), "ceil" (TQT's) or "round". outlier_mask: weights outside the
    range of the codes do not count for it. second_moments: nor count all alike the rest, but by the root of the moving
    average of their squared gradients, or by itself where ``root`` is False. moments_decay, stable_decay: of the
    moving averages of these and of the exponent. msqe_from: share of the training up to which "msqe" rounds up
    instead, as the paper's switch allows. least_step: of the start.
    rate: octaves that a weight's exponent moves at most in a step, whatever gradient comes. activation_rate: those that
    an activation's moves in a usual step (training.pace), under any optimizer (TQT's: Adam at 0.01).
    stable_from: share of the training from which the exponent is frozen; None for never. Which the
    paper used is not known; ours is a half.
    """

    rounding: Literal["msqe", "ceil", "round"] = "msqe"
    outlier_mask: bool = True
    second_moments: bool = True
    stable_from: float | None = 0.5
    rate: float = 0.25
    activation_rate: float = 0.01
    root: bool = True
    moments_decay: float = DECAY_MOMENTS
    stable_decay: float = DECAY_STABLE
    msqe_from: float = 0.0
    least_step: float = MINIMUM_STEP

    name: ClassVar[str] = "po2_gradient"
    summary: ClassVar[str] = "fixed bits; exponents of the thresholds learned by gradient"
    paper: ClassVar[str] = "arXiv:2210.03671"

    def __post_init__(self) -> None:
        if self.rounding not in ROUNDINGS:
            raise MPQError(f"no rounding {self.rounding!r} of exponents; there are {', '.join(ROUNDINGS)}")
        decays = {"moments_decay": self.moments_decay, "stable_decay": self.stable_decay}
        check_ranges(
            "po2_gradient",
            {
                "rate": (self.rate, 1e-6, 10.0),
                "activation_rate": (self.activation_rate, 0.0, 10.0),
                "msqe_from": (self.msqe_from, 0.0, 1.0),
                "least_step": (self.least_step, 2.0**SMALLEST, 1.0),
            }
            | {name: (decay, 0.0, 1.0 - 1e-9) for name, decay in decays.items()},
        )

    @property
    def needs_gradient(self) -> bool:  # type: ignore[override]
        """Only the second moments do."""
        return self.second_moments and self.rounding == "msqe"

    def start(self, slot: Slot, observed: Observed) -> Start:
        """A weight's range starts at three standard deviations, an activation's where its error is least."""
        bits = slot.bits[-1]
        if slot.kind == "activation":
            first = np.log2(search_threshold(observed, bits, slot.signed).steps[0]) - 0.5
            return Start({"exponent": first}, _state(first) | {"pace": np.zeros_like(first)})
        weight = np.asarray(observed, dtype=np.float64)
        if not np.all(np.isfinite(weight)):
            raise NonFiniteValues(f"site {slot.name!r} holds NaN or infinite values")
        deviation = np.std(weight, axis=slot.other_axes)
        first = exponent_of(np.maximum(3.0 * deviation / slot.high(bits), self.least_step))
        state = _state(first)
        if self.needs_gradient:
            state["moments"] = np.zeros(weight.shape)
        return Start({"exponent": first}, state)

    def extents(self, bank: Bank) -> Mapping[str, Extent]:
        """Exponents of channels, moments of elements."""
        by_channel: dict[str, Extent] = dict.fromkeys(("exponent", "rounded", "stable", "pace"), "channel")
        return by_channel | {"seen": "group", "moments": "element"}

    def constants(self, bank: Bank) -> Numbers:
        """The root of elements times codes, by channel."""
        sizes = [max(1, slot.elements // max(1, slot.channels or 1)) * slot.high(slot.bits[-1]) for slot in bank.slots]
        return {"root": np.repeat(np.sqrt(np.asarray(sizes, np.float64)), bank.layout.counts("channel"))}

    def follows_weights(self, bank: Bank) -> bool:
        """Only Round-to-Lower-MSQE does."""
        return bank.kind == "weight" and self.rounding == "msqe"

    def controls(self, bank: Bank, progress: Progress) -> Mapping[str, float]:
        """Whether the exponent is frozen, and whether it is rounded up as yet."""
        frozen = float(self.stable_from is not None and progress.fraction >= self.stable_from)
        return {"frozen": frozen} | ({"up": float(progress.fraction < self.msqe_from)} if self.msqe_from else {})

    def grids(
        self, ops: Ops, bank: Bank, x: Array, parameters: Arrays, state: Arrays, training: bool
    ) -> tuple[Sequence[Grids], Arrays]:
        """The rounded exponent's, with a straight-through gradient to the real one."""
        low, high = bank.low[:, -1], bank.high[:, -1]
        if not training:
            return [Grids(ops.exp2(state["rounded"]), low, high, code_extent="group")], {}
        real = parameters["exponent"]
        rounded = self._rounded(ops, bank, x, ops.stop_gradient(real), state)
        moved = self.stable_decay * state["stable"] + (1.0 - self.stable_decay) * rounded
        frozen = state["frozen"] > 0
        used = ops.where(frozen, ops.round(state["stable"]), rounded)
        # forward 2 ** used; backward to the real exponent, scaled, and nothing once it is frozen
        scale = ops.where(frozen, 0.0, 1.0) / state["root"]
        learned = scale * real - ops.stop_gradient(scale * real) + used
        kept = ops.where(bank.spread(ops, state["seen"], "group", "channel") > 0, moved, rounded)
        return [Grids(ops.exp2(learned), low, high, code_extent="group")], {
            "rounded": used,
            "stable": ops.where(frozen, state["stable"], kept),
            "seen": state["seen"] + 1.0,
        }

    def after_backward(
        self, ops: Ops, bank: Bank, x: Array, gradient: Array, parameters: Arrays, state: Arrays
    ) -> Arrays:
        """The second moments of the weights' gradients."""
        if "moments" not in state:
            return {}
        held = state["moments"], state["rounded"], self.moments_decay
        return {"moments": moved_moments(Weights(ops, bank, x), gradient, *held)}

    def after_step(
        self, ops: Ops, bank: Bank, parameters: Arrays, previous: Arrays, state: Arrays
    ) -> tuple[Arrays, Arrays]:
        """Exponents no further than ``rate`` from where they were, and where they were by no number."""
        moved, before = parameters["exponent"], previous["exponent"]
        if bank.kind == "activation":
            moved = ops.where(ops.abs(moved - before) < math.inf, moved, before)
            moved, pace = paced(ops, moved, before, state["pace"], self.activation_rate)
            return {"exponent": ops.minimum(ops.maximum(moved, float(SMALLEST)), float(-SMALLEST))}, {"pace": pace}
        change = moved - before
        nearest = ops.where(change > 0, before + self.rate, ops.where(change < 0, before - self.rate, before))
        kept = ops.where(ops.abs(change) <= self.rate, moved, nearest)
        return {"exponent": ops.minimum(ops.maximum(kept, float(SMALLEST)), float(-SMALLEST))}, {}

    def gradient_scale(self, bank: Bank) -> float:
        """That of paced parameters, for activations."""
        return AUDIBLE if bank.kind == "activation" else 1.0

    def harden(self, slot: Slot, parameters: Numbers, state: Numbers, bits: int | None = None) -> Grid:
        """The grid of the last step."""
        return slot.grid(slot.bits[-1], np.exp2(np.asarray(state["rounded"], dtype=np.float64)))

    def _rounded(self, ops: Ops, bank: Bank, x: Array, exponent: Array, state: Arrays) -> Array:
        exponent = ops.maximum(exponent, float(SMALLEST))
        if bank.kind == "activation" or self.rounding == "ceil":
            return -ops.floor(-exponent)
        if self.rounding == "round":
            return ops.round(exponent)
        weights = Weights(ops, bank, x)
        importance = importance_of(weights, state["moments"], self.root) if "moments" in state else None
        if self.outlier_mask:
            kept = within_range(weights, exponent)
            importance = kept if importance is None else importance * kept
        lower = lower_error_of_two(weights, exponent, importance)
        return ops.where(state["up"] > 0, -ops.floor(-exponent), lower) if self.msqe_from else lower


def _state(exponent: NDArray[Any]) -> dict[str, NDArray[Any]]:
    return {"rounded": np.ceil(exponent), "stable": np.ceil(exponent), "seen": np.zeros(())}


@hookimpl
def mpq_register_methods(register: Callable[[Any], None]) -> None:
    """Register po2_gradient."""
    register(Po2Gradient())

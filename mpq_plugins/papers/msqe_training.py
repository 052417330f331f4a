"""msqe in training: fixed bits, and a power-of-two step of least squared error that follows the weight.

The MSQE half of "A Closer Look at Hardware-Friendly Weight Quantization" (2210.03671): alternating least
squares and a line search over exponents at every step, errors weighted by the root of each weight's
second gradient moment, outliers left out, and a stable exponent for the end of the training.

The study quantizes weights alone, and its published code learns the exponents of activations by gradient, rounded
up (quantized_bits_learnable_po2, for ReLU: no second moments, no Round-to-Lower-MSQE). Ours do so, as method
po2_gradient does, at few bits (``learned_up_to``); with more, the step of least error of the calibration values served
as well, and stays.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from mpq_plugins.array_ops.protocol import Array, Ops
from mpq_plugins.errors import MPQError, NonFiniteValues
from mpq_plugins.grid import Grid
from mpq_plugins.papers.po2_gradient import Po2Gradient
from mpq_plugins.thresholds.search import search_threshold
from mpq_plugins.training.bank import Bank
from mpq_plugins.training.exponents import (
    DECAY_MOMENTS,
    DECAY_STABLE,
    Weights,
    exponent_of,
    importance_of,
    largest,
    least_squares,
    moved_moments,
    within_deviations,
)
from mpq_plugins.training.grids import Grids
from mpq_plugins.training.hyper_parameters import check_ranges
from mpq_plugins.training.layout import Extent
from mpq_plugins.training.method import Arrays, Numbers, Progress, Start, TrainingMethod
from mpq_plugins.training.slot import Observed, Slot


@dataclass(frozen=True)
class MsqeTraining(TrainingMethod):
    """Steps by least squared error; an activation's is that of its calibration values, or learned from there on.

    iterations, line_range: of exponents.least_squares; an iterations of 0 and a wide range search by
        brute force. outlier_sigma: weights beyond so many standard deviations do not count; None for all.
        With it the exponent of a weight of a hundred elements flips two to three times as often, since what crosses
        the border takes its whole error into or out of the sum at once; with a mask that is held still it flips about
        as often as without (benchmarks.exponent_flips). ``stable_from`` ends it.
    second_moments: weight errors by the root of the squared gradients' moving average, or by itself where ``root`` is
        False. moments_decay, stable_decay: of the moving averages of these and of the exponent.
    learned_up_to: bits up to which the exponents of activations are learned; 0 for none. activation_rate: octaves that
        such an exponent moves in a usual step (training.pace).
    stable_from: share of the training from which the exponent is frozen at its moving average; None
        for never. Which share the paper used is not known; ours is a half.
    """

    iterations: int = 3
    line_range: int = 6
    outlier_sigma: float | None = 2.0
    second_moments: bool = True
    stable_from: float | None = 0.5
    root: bool = True
    moments_decay: float = DECAY_MOMENTS
    stable_decay: float = DECAY_STABLE
    learned_up_to: int = 3
    activation_rate: float = 0.2

    name: ClassVar[str] = "msqe"
    summary: ClassVar[str] = "thresholds of least squared error that follow the weights"
    paper: ClassVar[str] = "arXiv:2210.03671"

    def __post_init__(self) -> None:
        if self.iterations < 0 or self.line_range < 0:
            raise MPQError(f"iterations and line_range are 0 or more, got {self.iterations} and {self.line_range}")
        if self.outlier_sigma is not None and self.outlier_sigma <= 0:
            raise MPQError(f"outlier_sigma is a positive number of deviations or None, got {self.outlier_sigma}")
        decays = {"moments_decay": self.moments_decay, "stable_decay": self.stable_decay}
        limits = {name: (decay, 0.0, 1.0 - 1e-9) for name, decay in decays.items()}
        limits |= {"learned_up_to": (self.learned_up_to, 0, 16), "activation_rate": (self.activation_rate, 0.0, 10.0)}
        check_ranges("msqe", limits)

    @property
    def needs_gradient(self) -> bool:  # type: ignore[override]
        """Only the second moments do."""
        return self.second_moments

    def start(self, slot: Slot, observed: Observed) -> Start:
        """The exponent of the clipping-free step of a weight, or of an activation's best step."""
        bits = slot.bits[-1]
        if self._learns(slot):
            return self._gradient.start(slot, observed)
        if slot.kind == "activation":
            grid = search_threshold(observed, bits, slot.signed)
            return Start(state={"exponent": np.log2(grid.steps[0])})
        weight = np.asarray(observed, dtype=np.float64)
        if not np.all(np.isfinite(weight)):
            raise NonFiniteValues(f"site {slot.name!r} holds NaN or infinite values")
        first = np.rint(exponent_of(largest(slot, weight) / slot.high(bits)))
        state: dict[str, Any] = {"exponent": first, "stable": first, "seen": 0.0}
        if self.second_moments:
            state["moments"] = np.zeros(weight.shape)
        return Start(state=state)

    def extents(self, bank: Bank) -> Mapping[str, Extent]:
        """Exponents of channels, moments of elements."""
        if self._learns(bank):
            return self._gradient.extents(bank)
        return {"exponent": "channel", "stable": "channel", "seen": "group", "moments": "element"}

    def constants(self, bank: Bank) -> Numbers:
        """Those of learned exponents."""
        return self._gradient.constants(bank) if self._learns(bank) else {}

    def follows_weights(self, bank: Bank) -> bool:
        """Steps of weights do."""
        return bank.kind == "weight"

    def controls(self, bank: Bank, progress: Progress) -> Mapping[str, float]:
        """Whether the exponent is frozen."""
        if self._learns(bank):
            return self._gradient.controls(bank, progress)
        if bank.kind == "activation":
            return {}
        return {"frozen": float(self.stable_from is not None and progress.fraction >= self.stable_from)}

    def grids(
        self, ops: Ops, bank: Bank, x: Array, parameters: Arrays, state: Arrays, training: bool
    ) -> tuple[Sequence[Grids], Arrays]:
        """The step; in training a weight's is found anew."""
        if self._learns(bank):
            return self._gradient.grids(ops, bank, x, parameters, state, training)
        exponent = state["exponent"]
        updates: Arrays = {}
        if training and bank.kind == "weight":
            exponent, updates = self._follow(ops, bank, x, state)
        return [Grids(ops.exp2(exponent), bank.low[:, -1], bank.high[:, -1], code_extent="group")], updates

    def after_backward(
        self, ops: Ops, bank: Bank, x: Array, gradient: Array, parameters: Arrays, state: Arrays
    ) -> Arrays:
        """The second moments of the weights' gradients."""
        if "moments" not in state:
            return {}
        held = state["moments"], state["exponent"], self.moments_decay
        return {"moments": moved_moments(Weights(ops, bank, x), gradient, *held)}

    def after_step(
        self, ops: Ops, bank: Bank, parameters: Arrays, previous: Arrays, state: Arrays
    ) -> tuple[Arrays, Arrays]:
        """Learned exponents no further than theirs may go."""
        return self._gradient.after_step(ops, bank, parameters, previous, state) if parameters else ({}, {})

    def gradient_scale(self, bank: Bank) -> float:
        """That of learned exponents."""
        return self._gradient.gradient_scale(bank) if self._learns(bank) else 1.0

    def harden(self, slot: Slot, parameters: Numbers, state: Numbers, bits: int | None = None) -> Grid:
        """The grid of the last step."""
        if self._learns(slot):
            return self._gradient.harden(slot, parameters, state, bits)
        return slot.grid(slot.bits[-1], np.exp2(np.asarray(state["exponent"], dtype=np.float64)))

    @property
    def _gradient(self) -> Po2Gradient:
        """What learns the exponents of activations."""
        return Po2Gradient(
            rounding="ceil", second_moments=False, stable_from=self.stable_from, activation_rate=self.activation_rate
        )

    def _learns(self, what: Slot | Bank) -> bool:
        return what.kind == "activation" and what.bits[-1] <= self.learned_up_to

    def _follow(self, ops: Ops, bank: Bank, x: Array, state: Arrays) -> tuple[Array, dict[str, Array]]:
        """The exponent of this step, and what to keep."""
        weights = Weights(ops, bank, x)
        importance = importance_of(weights, state["moments"], self.root) if self.second_moments else None
        if self.outlier_sigma is not None:
            kept = within_deviations(weights, self.outlier_sigma)
            importance = kept if importance is None else importance * kept
        found = least_squares(weights, state["exponent"], importance, self.iterations, self.line_range)
        live = weights.total(ops.cast(ops.abs(x) > 0, x)) > 0
        found = ops.where(live, found, state["exponent"])
        moved = self.stable_decay * state["stable"] + (1.0 - self.stable_decay) * found
        seen = bank.spread(ops, state["seen"], "group", "channel")
        stable = ops.where(seen > 0, moved, found)
        frozen = state["frozen"] > 0
        exponent = ops.where(frozen, ops.round(state["stable"]), found)
        return exponent, {
            "exponent": exponent,
            "stable": ops.where(frozen, state["stable"], stable),
            "seen": state["seen"] + 1.0,
        }

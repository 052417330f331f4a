"""sdq: each weight takes one of two neighbouring bit-widths at random, with a probability that is learned.

From "SDQ: Stochastic Differentiable Quantization with Mixed Precision" (2206.04459), of which no code is
public. A weight stands between candidate b_i and the next lower, b_(i-1); its differentiable bit-width
parameter beta (``share``) is the probability of b_i:

    z = sigmoid((logit beta + g1 - g0) / temperature),   hard = [z > 1/2],   m = hard + z - stop_gradient(z)
    W~ = m Q_bi(W) + (1 - m) Q_b(i-1)(W)                  (equations 4 and 5)

so that every forward pass holds exactly one of both. When beta has sunk below ``decay_below``, the weight
moves down for good, and the next pair starts with beta = ``initial_share``.

Where the paper is not known, this was chosen:

* The objective: task + error_weight * (beta * error_bi + (1 - beta) * error_b(i-1)), errors relative to
  the weight's mean square (QER), + cost_weight * relu(cost / target - 1), whose target falls to the budget's
  in the first ``ramp`` of the search. QER resists fewer bits; the cost term makes the search end.
* Quantizer "grid": a power-of-two step for each candidate, of least squared error at the start, and then
  compared with the next larger and the next smaller step in turn, one each training step.
  "dorefa": the paper's (methods.dorefa); "entropy": the same with N2UQ's pre-scale. Neither fits hardware:
  evaluation simulates it, and harden gives the power-of-two grids that the start found.
* Granularity "kernel": bits for each output channel, where the slot has steps for each. Hardware has one
  bit-width for a weight: evaluation and harden use the largest of them, each channel with its own step.
* beta moves at most ``rate`` per step under any optimizer (training.pace), faster in a short search. After
  ``search_share`` of the search, choices are frozen.
* Activations have fixed bits in the paper. Where one has several, it chooses as a weight does.

With one candidate this is the paper's second phase: training at fixed bits, with entropy-aware bin
regularisation where ``bin_weight`` is positive (the paper: 0.1, beside regularizers.distillation).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from mpq_plugins import schedules
from mpq_plugins.errors import MPQError
from mpq_plugins.grid import Grid
from mpq_plugins.histogram import Histogram
from mpq_plugins.hookspecs import hookimpl
from mpq_plugins.methods.dorefa import prescaled_unit_weight, quantize_unit, unit_weight
from mpq_plugins.methods.pairs import End, better_step, distances, follow, squared_error
from mpq_plugins.ops import Array, Ops
from mpq_plugins.regularizers import bin_regularization
from mpq_plugins.thresholds import search_threshold
from mpq_plugins.training.hyper_parameters import check_ranges
from mpq_plugins.training.method import NOISE, Arrays, Numbers, Progress, Spent, Start, TrainingMethod
from mpq_plugins.training.pace import AUDIBLE, paced
from mpq_plugins.training.slot import Observed, Slot

_EDGE = 1e-3  # share stays this far from 0 and 1
_BIN_BITS = 4  # bins are regularised one by one, up to this many bits


@dataclass(frozen=True)
class Sdq(TrainingMethod):
    """The method; a value. The module says what the fields do."""

    name: ClassVar[str] = "sdq"
    summary: ClassVar[str] = "a random choice between neighbouring bit-widths, whose probability is learned"
    paper: ClassVar[str] = "arXiv:2206.04459"
    searches_bits: ClassVar[bool] = True

    quantizer: Literal["grid", "dorefa", "entropy"] = "grid"
    granularity: Literal["layer", "kernel"] = "layer"
    initial_share: float = 0.99
    decay_below: float = 0.01
    error_weight: float = 0.1
    cost_weight: float = 1.0
    start_rate: float = 4.0
    ramp: float = 0.4
    search_share: float = 0.6
    temperature_start: float = 1.0
    temperature_end: float = 0.1
    rate: float = 0.02
    bin_weight: float = 0.0

    def __post_init__(self) -> None:
        for field, allowed in (("quantizer", ("grid", "dorefa", "entropy")), ("granularity", ("layer", "kernel"))):
            if getattr(self, field) not in allowed:
                raise MPQError(f"sdq: {field} must be one of {', '.join(allowed)}, got {getattr(self, field)!r}")
        check_ranges(
            "sdq",
            {
                "initial_share": (self.initial_share, 0.5, 1.0 - _EDGE),
                "decay_below": (self.decay_below, 2 * _EDGE, 0.49),
                "error_weight": (self.error_weight, 0.0, math.inf),
                "cost_weight": (self.cost_weight, 0.0, math.inf),
                "start_rate": (self.start_rate, 1.0, 64.0),
                "ramp": (self.ramp, 0.0, 1.0),
                "search_share": (self.search_share, 0.0, 1.0),
                "temperature_start": (self.temperature_start, 0.01, 100.0),
                "temperature_end": (self.temperature_end, 0.01, 100.0),
                "rate": (self.rate, 1e-6, 1.0),
                "bin_weight": (self.bin_weight, 0.0, math.inf),
            },
        )

    def start(self, slot: Slot, observed: Observed) -> Start:
        """share: [] or, by kernel, [channels]. State: pair (index of its upper candidate), steps by candidate."""
        if isinstance(observed, Histogram):
            grids = [search_threshold(observed, b, slot.signed, narrow=slot.narrow) for b in slot.bits]
        else:
            grids = [search_threshold(observed, b, slot.signed, "mse", slot.axis, slot.narrow) for b in slot.bits]
        steps = np.array([np.reshape(grid.steps, slot.step_shape) for grid in grids], dtype=np.float32)
        shape = self._shape(slot)
        state = {
            "pair": np.full(shape, len(slot.bits) - 1, dtype=np.float32),
            "steps": steps,
            "errors": np.zeros((2, *shape), dtype=np.float32),
            "probe": np.float32(1.0),
            "moment": np.zeros(shape, dtype=np.float32),
        }
        return Start({"share": np.full(shape, self.initial_share, dtype=np.float32)}, state)

    def noise_shape(self, slot: Slot) -> tuple[int, ...] | None:
        """One draw for each share; the difference of two Gumbel draws is logistic."""
        return None if len(slot.bits) == 1 else self._shape(slot)

    def controls(self, slot: Slot, progress: Progress) -> Mapping[str, float]:
        """temperature of the choice; rise of the rate to reach, 0 .. 1; frozen, 1.0 once bits stay; rate."""
        searched = schedules.share_of(progress, self.search_share)
        return {
            "temperature": schedules.geometric(searched, self.temperature_start, self.temperature_end),
            "rise": schedules.share_of(progress, self.ramp),
            "frozen": float(schedules.share_is_done(progress, self.search_share)),
            "rate": schedules.brisk_rate(progress, self.ramp, self.rate, 1.5 * (len(slot.bits) - 1), 0.1),
        }

    def quantize(
        self, ops: Ops, slot: Slot, x: Array, parameters: Arrays, state: Arrays, training: bool
    ) -> tuple[Array, Arrays]:
        """x at one of the two bit-widths of the moment; at the likelier, if frozen or not training."""
        if len(slot.bits) == 1:
            return self._fixed(ops, slot, x, state, training)
        share = parameters["share"]
        unlikely = ops.cast(share < 0.5, like=share)
        own = ops.maximum(state["pair"] - unlikely, state["pair"] * 0.0)
        widest = End.of(ops, slot, ops.max(own), state["steps"])
        if not training:
            step = End.of(ops, slot, own, state["steps"]).step
            return self._at(ops, slot, x, step, widest.low, widest.high, widest.bits), {}
        frozen = state["frozen"]
        logistic = ops.log(state[NOISE] + 1e-6) - ops.log(1.0 - state[NOISE] + 1e-6)
        z = ops.sigmoid((ops.log(share) - ops.log(1.0 - share) + logistic) / state["temperature"])
        drawn = ops.cast(z > 0.5, like=z) + (z - ops.stop_gradient(z))
        upper = slot.spread(ops, frozen * (1.0 - unlikely) + (1.0 - frozen) * drawn)
        ends, outcomes = self._ends(ops, slot, state), []
        for end in ends:
            low, high = (  # a frozen choice trains between the codes that evaluation has
                slot.spread(ops, frozen * last + (1.0 - frozen) * now)
                for last, now in ((widest.low, end.low), (widest.high, end.high))
            )
            outcomes.append(self._at(ops, slot, x, end.step, low, high, slot.spread(ops, end.bits)))
        updates = self._watch(ops, slot, x, state, ends, outcomes) if slot.kind == "weight" else {}
        return upper * outcomes[0] + (1.0 - upper) * outcomes[1], updates

    def expected_bits(self, ops: Ops, slot: Slot, parameters: Arrays, state: Arrays) -> Array:
        """beta b_i + (1 - beta) b_(i-1), [] or [channels]; the likelier of both, without gradient, once frozen."""
        if len(slot.bits) == 1:
            return super().expected_bits(ops, slot, parameters, state)
        share = parameters["share"]
        above, below = self._ends(ops, slot, state)
        frozen = state["frozen"]
        upper = frozen * ops.cast(share >= 0.5, like=share) + (1.0 - frozen) * share
        return upper * above.bits + (1.0 - upper) * below.bits

    def regularization(self, ops: Ops, slot: Slot, x: Array, parameters: Arrays, state: Arrays) -> Array | None:
        """QER, from the errors that the last forward pass measured; with one candidate, of its bins."""
        if len(slot.bits) > 1:
            if not self.error_weight:
                return None
            upper, lower = ops.stop_gradient(state["errors"][0]), ops.stop_gradient(state["errors"][1])
            share = parameters["share"]
            return self.error_weight * ops.mean(share * upper + (1.0 - share) * lower)
        if not self.bin_weight or slot.bits[0] > _BIN_BITS:
            return None
        bits = slot.bits[0]
        if self.quantizer == "grid":
            step = slot.spread(ops, state["steps"][0])
            return self.bin_weight * bin_regularization(ops, x, step, slot.low(bits), slot.high(bits))
        unit = self._unit(ops, x, bits)
        return self.bin_weight * 4.0 * bin_regularization(ops, unit, 1.0 / (2**bits - 1), 0, 2**bits - 1)

    def penalty(self, ops: Ops, spent: Sequence[Spent], state: Arrays) -> Array:
        """cost_weight * relu(cost / target - 1) for each resource; the target falls to the limit."""
        total: Array = 0.0
        for resource in spent:
            rate = schedules.rising_rate(self.start_rate, resource.float_cost / resource.limit, state["rise"])
            total = total + self.cost_weight * ops.relu(resource.cost * rate / resource.float_cost - 1.0)
        return total

    def after_step(
        self, ops: Ops, slot: Slot, parameters: Arrays, previous: Arrays, state: Arrays
    ) -> tuple[Arrays, Arrays]:
        """share at its own pace, within (0, 1); below ``decay_below`` the pair moves one candidate down."""
        if len(slot.bits) == 1:
            return {"share": previous["share"]}, {}
        share, moment = paced(ops, parameters["share"], previous["share"], state["moment"], state["rate"])
        share = ops.minimum(ops.maximum(share, ops.array(_EDGE, share)), ops.array(1.0 - _EDGE, share))
        falls = ops.cast(share < self.decay_below, like=share) * ops.cast(state["pair"] > 0.5, like=share)
        share = falls * self.initial_share + (1.0 - falls) * share
        frozen = state["frozen"]
        return (
            {"share": ops.where(frozen > 0.5, previous["share"], share)},
            {"pair": state["pair"] - (1.0 - frozen) * falls, "moment": moment},
        )

    def preferences(self, slot: Slot, parameters: Numbers, state: Numbers) -> Mapping[int, float]:
        """Odds within the pair, and for candidates outside it as many decays as lie between; mean over channels."""
        share = np.asarray(parameters["share"], dtype=np.float64)
        own = int(self._own(parameters, state).max())
        away = distances(share, np.asarray(state["pair"]), len(slot.bits), self.initial_share, self.decay_below)
        return {b: 0.0 if k == own else max(float(away[k]), 1e-9) for k, b in enumerate(slot.bits)}

    def harden(self, slot: Slot, parameters: Numbers, state: Numbers, bits: int | None = None) -> Grid:
        """b_i where beta is at least 1/2, else b_(i-1); by kernel the largest of the channels' bits."""
        if bits is not None and bits not in slot.bits:
            raise MPQError(f"site {slot.name!r} has the candidates {slot.bits}, not {bits} bits")
        own = self._own(parameters, state)
        index = own if bits is None or own.ndim else np.asarray(slot.bits.index(bits))
        if bits is not None:
            index = np.minimum(index, slot.bits.index(bits))
        steps = np.asarray(state["steps"], dtype=np.float64)
        step = np.take_along_axis(steps, np.broadcast_to(index, (1, *slot.step_shape)), axis=0)[0]
        return slot.grid(slot.bits[int(index.max())] if bits is None else bits, step)

    def gradient_scale(self, slot: Slot) -> float:
        """Any that is heard: the pace is the method's own."""
        return AUDIBLE

    def _shape(self, slot: Slot) -> tuple[int, ...]:
        return slot.step_shape if self.granularity == "kernel" else ()

    def _own(self, parameters: Numbers, state: Numbers) -> Any:
        below = np.asarray(parameters["share"]) < 0.5
        return np.maximum(np.asarray(state["pair"]).astype(int) - below, 0)

    def _unit(self, ops: Ops, x: Array, bits: Array) -> Array:
        return unit_weight(ops, x) if self.quantizer == "dorefa" else prescaled_unit_weight(ops, x, bits)

    def _at(self, ops: Ops, slot: Slot, x: Array, step: Array, low: Array, high: Array, bits: Array) -> Array:
        if self.quantizer == "grid" or slot.kind == "activation":
            return ops.fake_quantize(x, slot.spread(ops, step), low, high)
        return quantize_unit(ops, self._unit(ops, x, bits), bits)

    def _ends(self, ops: Ops, slot: Slot, state: Arrays) -> tuple[End, End]:
        pair, steps = state["pair"], state["steps"]
        return End.of(ops, slot, pair, steps), End.of(ops, slot, ops.maximum(pair - 1.0, pair * 0.0), steps)

    def _fixed(self, ops: Ops, slot: Slot, x: Array, state: Arrays, training: bool) -> tuple[Array, Arrays]:
        """With one candidate: whole-number codes, and nothing to choose but the step."""
        bits, step = slot.bits[0], state["steps"][0]
        codes = slot.low(bits), slot.high(bits)
        quantized = self._at(ops, slot, x, step, *codes, float(bits))
        if not training or slot.kind == "activation" or self.quantizer != "grid":
            return quantized, {}
        still, outcome = ops.stop_gradient(x), ops.stop_gradient(quantized)
        step = better_step(ops, slot, still, outcome, step, codes, state["probe"])
        return quantized, {"steps": ops.stack([step]), "probe": -state["probe"]}

    def _watch(
        self, ops: Ops, slot: Slot, x: Array, state: Arrays, ends: tuple[End, End], outcomes: Sequence[Array]
    ) -> Arrays:
        """The relative errors of both candidates, and their steps after a look at a neighbour of each."""
        outcomes = [ops.stop_gradient(outcome) for outcome in outcomes]
        still = ops.stop_gradient(x)
        by_channel = len(state["pair"].shape) > 0
        if self.quantizer != "grid":
            errors = [
                squared_error(ops, slot, 2.0 * self._unit(ops, still, slot.spread(ops, end.bits)) - 1.0, q, by_channel)
                for end, q in zip(ends, outcomes, strict=True)
            ]
            return {"errors": ops.stack(errors)}
        return follow(ops, slot, still, state, ends, outcomes)


@hookimpl
def mpq_register_methods(register: Callable[[Any], None]) -> None:
    """Register sdq."""
    register(Sdq())

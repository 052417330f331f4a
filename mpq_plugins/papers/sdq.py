"""sdq: each weight takes one of two neighbouring bit-widths at random, with a probability that is learned.

From "SDQ: Stochastic Differentiable Quantization with Mixed Precision" (2206.04459), of which no code is
public. A weight stands between candidate b_i and the next lower, b_(i-1); its differentiable bit-width
parameter beta (``share``) is the probability of b_i:

    z = sigmoid((logit beta + g1 - g0) / temperature),   hard = [z > 1/2],   m = hard + z - stop_gradient(z)
    W~ = m Q_bi(W) + (1 - m) Q_b(i-1)(W)                  (equations 4 and 5)

so that every forward pass holds exactly one of both. When beta has sunk below ``decay_below``, the weight
moves down for good, to the next pair, whose beta has stayed at ``initial_share``: each pair has its own.

Where the paper is not known, this was chosen:

* The objective: task + error_weight * (beta * error_bi + (1 - beta) * error_b(i-1)), errors relative to
  the weight's mean square (QER; off by default, since it showed no benefit), + cost_weight * relu(cost / target - 1),
  whose target falls to the budget's within ``ramp``.
* Quantizer "grid": a power-of-two step for each candidate, of least squared error at the start, and then
  compared with the next larger and the next smaller step in turn, one each training step.
  "dorefa": the paper's (papers.dorefa); "entropy": the same with N2UQ's pre-scale. Neither fits hardware:
  evaluation simulates it, and harden gives the power-of-two grids that the start found.
* Granularity "net" and "block" (papers.shares): one choice for several weights; the budget is met, and used,
  by site all the same. "kernel": bits for each output channel, where the slot has steps for each; hardware has
  one bit-width for a weight: evaluation and harden use the largest of them, each channel with its own step.
* beta moves at most ``rate`` per step under any optimizer (training.pace), faster in a short search. From
  ``ramp`` on, when the target is the budget's own, the nearer of 0 and 1 draws it by up to ``settling`` times
  that, so that choices are made when they are frozen, after ``search_share`` of the search.
* Activations have fixed bits in the paper. Where one has several, it chooses as a weight does.

With one candidate this is the paper's second phase: training at fixed bits, with entropy-aware bin
regularisation where ``bin_weight`` is positive (the paper: 0.1, beside regularizers.distillation; off by default).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

import numpy as np

from mpq_plugins.array_ops.protocol import Array, Ops
from mpq_plugins.errors import MPQError
from mpq_plugins.grid import Grid
from mpq_plugins.papers.dorefa import prescaled_unit_weight, quantize_unit, unit_weight
from mpq_plugins.papers.pairs import Choices, constants_of, distances, follow_one, unit_bins, watch
from mpq_plugins.papers.shares import Granularity, active, active_number, bank_units, means_of_units, tied, unit_of
from mpq_plugins.plugins.hookspecs import hookimpl
from mpq_plugins.training import schedules
from mpq_plugins.training.bank import Bank
from mpq_plugins.training.grids import Grids
from mpq_plugins.training.hyper_parameters import check_ranges
from mpq_plugins.training.layout import Extent
from mpq_plugins.training.method import NOISE, Arrays, Numbers, Progress, Spent, Start, TrainingMethod
from mpq_plugins.training.pace import AUDIBLE, paced
from mpq_plugins.training.regularizers import bin_regularization, over_target
from mpq_plugins.training.slot import Observed, Slot
from mpq_plugins.training.starting_grid import least_error_grid

_EDGE = 1e-3  # share stays this far from 0 and 1
_FASTEST = 0.1  # that a share moves in a step, however short the search


@dataclass(frozen=True)
class Sdq(TrainingMethod):
    """The method; a value. The module says what the fields do."""

    name: ClassVar[str] = "sdq"
    summary: ClassVar[str] = "a random choice between neighbouring bit-widths, whose probability is learned"
    paper: ClassVar[str] = "arXiv:2206.04459"
    searches_bits: ClassVar[bool] = True
    pressure: ClassVar[str] = "cost_weight"

    quantizer: Literal["grid", "dorefa", "entropy"] = "grid"
    granularity: Granularity = "layer"
    blocks: tuple[str, ...] = ()
    initial_share: float = 0.99
    decay_below: float = 0.01
    error_weight: float = 0.0
    cost_weight: float = 1.0
    start_rate: float = 4.0
    ramp: float = 0.4
    settling: float = 1.0
    search_share: float = 0.6
    temperature_start: float = 1.0
    temperature_end: float = 0.1
    rate: float = 0.02
    bin_weight: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "blocks", tuple(self.blocks))
        for field, allowed in (("quantizer", ("grid", "dorefa", "entropy")), ("granularity", get_args(Granularity))):
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
                "settling": (self.settling, 0.0, 100.0),
                "search_share": (self.search_share, 0.0, 1.0),
                "temperature_start": (self.temperature_start, 0.01, 100.0),
                "temperature_end": (self.temperature_end, 0.01, 100.0),
                "rate": (self.rate, 1e-6, 1.0),
                "bin_weight": (self.bin_weight, 0.0, math.inf),
            },
        )

    def start(self, slot: Slot, observed: Observed) -> Start:
        """share: [pairs] or, by kernel, [channels, pairs], that of the lowest pair first.

        State: pair (index of its upper candidate), [] or [channels]; steps by candidate.

        With one candidate there is nothing to learn, and the step alone is kept.
        """
        grids = [least_error_grid(slot, observed, bits) for bits in slot.bits]
        steps = np.stack([np.reshape(grid.steps, slot.step_shape) for grid in grids], axis=-1).astype(np.float32)
        if len(slot.bits) == 1:
            return Start(state={"steps": steps, "probe": np.float32(1.0)})
        shape = slot.step_shape if self.granularity == "kernel" else ()
        pairs = *shape, len(slot.bits) - 1
        state = {
            "pair": np.full(shape, len(slot.bits) - 1, dtype=np.float32),
            "steps": steps,
            "errors": np.zeros((*shape, 2), dtype=np.float32),
            "probe": np.float32(1.0),
            "moment": np.zeros(pairs, dtype=np.float32),
        }
        return Start({"share": np.full(pairs, self.initial_share, dtype=np.float32)}, state)

    def extents(self, bank: Bank) -> Mapping[str, Extent]:
        """Steps belong to channels, and so, by kernel, does all that chooses."""
        choosing = dict.fromkeys(("share", "pair", "errors", "moment"), self._extent)
        return {**choosing, "steps": "channel", "probe": "group"}

    def constants(self, bank: Bank) -> Numbers:
        """What the candidates of every choice are, and which groups are one unit."""
        if len(bank.bits) == 1:
            return {}
        units = means_of_units(bank_units(bank, self.granularity, self.blocks))
        return constants_of(bank, self._extent) | ({} if units is None else {"units": units})

    def noise(self, bank: Bank) -> tuple[Extent, tuple[int, ...]] | None:
        """One draw for each share; the difference of two Gumbel draws is logistic."""
        return None if len(bank.bits) == 1 else (self._extent, ())

    def draws_as(self, slot: Slot) -> str:
        """The members of a unit draw alike."""
        return unit_of(slot.name, self.granularity if slot.kind == "weight" else "layer", self.blocks)

    def follows_weights(self, bank: Bank) -> bool:
        """Errors and steps of weights do."""
        return bank.kind == "weight" and (len(bank.bits) > 1 or self.quantizer == "grid")

    def regularizes_weights(self, bank: Bank) -> bool:
        """With one candidate, their bins."""
        return bank.kind == "weight" and len(bank.bits) == 1 and self.bin_weight > 0

    def has_own_quantizer(self, bank: Bank) -> bool:
        """DoReFa's and the one with an entropy pre-scale."""
        return bank.kind == "weight" and self.quantizer != "grid"

    def controls(self, bank: Bank, progress: Progress) -> Mapping[str, float]:
        """temperature of the choice; rise of the target and pull of 0 and 1; frozen, 1.0 once bits stay; rate."""
        searched = schedules.share_of(progress, self.search_share)
        return {
            "temperature": schedules.geometric(searched, self.temperature_start, self.temperature_end),
            "rise": schedules.share_of(progress, self.ramp),
            "pull": self.settling * schedules.share_of(progress, self.search_share - self.ramp, begin=self.ramp),
            "frozen": float(schedules.share_is_done(progress, self.search_share)),
            "rate": schedules.brisk_rate(progress, self.ramp, self.rate, 1.5 * (len(bank.bits) - 1), _FASTEST),
        }

    def grids(
        self, ops: Ops, bank: Bank, x: Array, parameters: Arrays, state: Arrays, training: bool
    ) -> tuple[Sequence[Grids], Arrays]:
        """The grids of the two bit-widths of the moment; that of the likelier, if frozen or not training."""
        if len(bank.bits) == 1:
            return self._fixed(ops, bank, x, state, training)
        choices = Choices(ops, bank, self._extent)
        share, _ = active(ops, parameters["share"], state)
        unlikely = ops.cast(share < 0.5, like=share)
        own = ops.maximum(state["pair"] - unlikely, state["pair"] * 0.0)
        low, high, bits = (bank.spread(ops, v, "group", "channel") for v in choices.widest(state, own))
        if not training:
            return [Grids(choices.end(state, own).step, low, high, more={"bits": bits})], {}
        frozen = state["frozen"]
        logistic = ops.log(state[NOISE] + 1e-6) - ops.log(1.0 - state[NOISE] + 1e-6)
        z = ops.sigmoid((ops.log(share) - ops.log(1.0 - share) + logistic) / state["temperature"])
        drawn = ops.cast(z > 0.5, like=z) + (z - ops.stop_gradient(z))
        upper = choices.by_channel(frozen * (1.0 - unlikely) + (1.0 - frozen) * drawn)
        ends, grids = choices.pair(state), []
        for end, part in zip(ends, (upper, 1.0 - upper), strict=True):
            now = choices.by_channel(end.low), choices.by_channel(end.high)
            # a frozen choice trains between the codes that evaluation has
            first, last = (frozen * own + (1.0 - frozen) * code for own, code in zip((low, high), now, strict=True))
            grids.append(Grids(end.step, first, last, share=part, more={"bits": choices.by_channel(end.bits)}))
        if bank.kind == "activation":
            return grids, {}
        return grids, watch(choices, x, state, ends, grids, None if self.quantizer == "grid" else self._unit)

    def quantize_tensor(self, ops: Ops, x: Array, grid: Grids) -> Array:
        """Levels from -1 to 1, 2**b of them."""
        return quantize_unit(ops, self._unit(ops, x, grid.more["bits"]), grid.more["bits"])

    def expected_bits(self, ops: Ops, bank: Bank, parameters: Arrays, state: Arrays) -> Array:
        """beta b_i + (1 - beta) b_(i-1), its mean by group; the likelier of both, without gradient, once frozen."""
        if len(bank.bits) == 1:
            return super().expected_bits(ops, bank, parameters, state)
        share, _ = active(ops, parameters["share"], state)
        above, below = Choices(ops, bank, self._extent).pair(state)
        frozen = state["frozen"]
        upper = frozen * ops.cast(share >= 0.5, like=share) + (1.0 - frozen) * share
        return bank.mean(ops, upper * above.bits + (1.0 - upper) * below.bits, self._extent, "group")

    def regularization(self, ops: Ops, bank: Bank, x: Array, parameters: Arrays, state: Arrays) -> Array | None:
        """QER, from the errors that the last forward pass measured; with one candidate, of its bins."""
        if bank.kind == "activation":
            return None
        if len(bank.bits) > 1:
            if not self.error_weight:
                return None
            errors = ops.stop_gradient(state["errors"])
            share, _ = active(ops, parameters["share"], state)
            error = share * errors[:, 0] + (1.0 - share) * errors[:, 1]
            return self.error_weight * ops.sum(bank.mean(ops, error, self._extent, "group"))
        if not self.regularizes_weights(bank):
            return None
        if self.quantizer == "grid":
            step = bank.spread(ops, state["steps"][:, 0], "channel", "element")
            return self.bin_weight * bin_regularization(ops, x, step, *bank.layout.codes[0], bank)
        return self.bin_weight * unit_bins(ops, bank, x, self._unit)

    def penalty(self, ops: Ops, spent: Sequence[Spent], state: Arrays) -> Array:
        """cost_weight * relu(cost / target - 1) for each resource; the target falls to the limit."""
        total: Array = 0.0
        for resource in spent:
            total = total + self.cost_weight * over_target(ops, resource, self.start_rate, state["rise"])
        return total

    def after_step(
        self, ops: Ops, bank: Bank, parameters: Arrays, previous: Arrays, state: Arrays
    ) -> tuple[Arrays, Arrays]:
        """share at its own pace, within (0, 1); below ``decay_below`` the pair moves one candidate down."""
        if len(bank.bits) == 1:
            return {}, {}
        before = previous["share"]
        now = before + tied(ops, parameters["share"] - before, state)
        moved, moment = paced(ops, now, before, state["moment"], state["rate"])
        _, mask = active(ops, before, state)
        moved = moved + mask * (state["pull"] * state["rate"] * (2.0 * before - 1.0))
        moved = ops.minimum(ops.maximum(moved, _EDGE), 1.0 - _EDGE)
        share, _ = active(ops, moved, state)
        falls = ops.cast(share < self.decay_below, like=share) * ops.cast(state["pair"] > 0.5, like=share)
        frozen = state["frozen"]
        return (
            {"share": ops.where(frozen > 0.5, before, moved)},
            {"pair": state["pair"] - (1.0 - frozen) * falls, "moment": moment},
        )

    def preferences(self, slot: Slot, parameters: Numbers, state: Numbers) -> Mapping[int, float]:
        """Odds within the pair, and for candidates outside it as many decays as lie between; mean over channels."""
        if len(slot.bits) == 1:
            return {slot.bits[0]: 0.0}
        share = active_number(parameters["share"], state["pair"])
        own = int(self._own(parameters, state).max())
        away = distances(share, np.asarray(state["pair"]), len(slot.bits), self.initial_share, self.decay_below)
        return {b: 0.0 if k == own else max(float(away[k]), 1e-9) for k, b in enumerate(slot.bits)}

    def harden(self, slot: Slot, parameters: Numbers, state: Numbers, bits: int | None = None) -> Grid:
        """b_i where beta is at least 1/2, else b_(i-1); by kernel the largest of the channels' bits."""
        slot.check_candidate(bits)
        own = np.zeros((), dtype=int) if len(slot.bits) == 1 else self._own(parameters, state)
        index = own if bits is None or own.ndim else np.asarray(slot.bits.index(bits))
        if bits is not None:
            index = np.minimum(index, slot.bits.index(bits))
        steps = np.asarray(state["steps"], dtype=np.float64)
        step = np.take_along_axis(steps, np.broadcast_to(index, slot.step_shape)[..., None], axis=-1)[..., 0]
        return slot.grid(slot.bits[int(index.max())] if bits is None else bits, step)

    def settles_at(self) -> float:
        return self.search_share

    def least_steps(self, bits: Sequence[int], wanted: float) -> int:
        """One share after the other from its start to its decay."""
        pairs = sum(min(1.0, (b - max(wanted, a)) / (b - a)) for a, b in itertools.pairwise(bits) if b > wanted)
        way = (self.initial_share - self.decay_below) / max(_FASTEST, self.rate)
        return math.ceil(pairs * way / (self.search_share or 1.0))

    def settled(self, slot: Slot, parameters: Numbers, state: Numbers, grid: Grid) -> Start:
        """The grid's candidate as the upper one, with a share of all but nothing."""
        own, index = self._own(parameters, state), slot.bits.index(grid.bits)
        chosen = own if int(own.max()) == index else np.full_like(own, index)
        steps, at = np.array(state["steps"], np.float32), np.broadcast_to(chosen, slot.step_shape)[..., None]
        np.put_along_axis(steps, at, np.reshape(grid.steps, slot.step_shape)[..., None].astype(np.float32), axis=-1)
        share = np.full_like(np.asarray(parameters["share"], np.float32), 1.0 - _EDGE)
        return Start({"share": share}, {"pair": chosen.astype(np.float32), "steps": steps})

    def gradient_scale(self, bank: Bank) -> float:
        """Any that is heard: the pace is the method's own."""
        return AUDIBLE

    @property
    def _extent(self) -> Extent:
        return "channel" if self.granularity == "kernel" else "group"

    def _own(self, parameters: Numbers, state: Numbers) -> Any:
        below = active_number(parameters["share"], state["pair"]) < 0.5
        return np.maximum(np.asarray(state["pair"]).astype(int) - below, 0)

    def _unit(self, ops: Ops, x: Array, bits: Array) -> Array:
        return unit_weight(ops, x) if self.quantizer == "dorefa" else prescaled_unit_weight(ops, x, bits)

    def _fixed(self, ops: Ops, bank: Bank, x: Array, state: Arrays, training: bool) -> tuple[Sequence[Grids], Arrays]:
        """With one candidate: whole-number codes, and nothing to choose but the step."""
        step, more = state["steps"][:, 0], {"bits": bank.most_bits}
        grids = [Grids(step, bank.low[:, 0], bank.high[:, 0], code_extent="group", more=more)]
        return grids, follow_one(ops, bank, x, state) if training and self.follows_weights(bank) else {}


@hookimpl
def mpq_register_methods(register: Callable[[Any], None]) -> None:
    """Register sdq."""
    register(Sdq())

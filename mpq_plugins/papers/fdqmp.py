"""fdqmp: step and range are learned for each slice of a tensor; the bit-width follows from them.

From "Edge Inference with Fully Differentiable Quantized Mixed Precision Neural Networks" (2206.07741) and
the authors' code; U3 of Uhlich et al. (2020). With step d and range xmax of a slice (an output channel where
the slot has a step for each, else the tensor),

    Q(x) = d * round(clip(x, -xmax, xmax) / d)     (unsigned: 0 .. xmax),
    bits = ceil(log2(r + 1)) + signed,    top code r = round(xmax / d),

clipping first, so that all that lies beyond xmax moves it and has no gradient of its own; rounding passes back a
surrogate gradient (weights EWGS, activations inverse tanh) and ceil its own.
Phases: pretrain (d, xmax fixed), search (one update in ``update_every`` steps, under the budget's penalty),
finetune (d, xmax fixed). The budget may be of any resources; ``total_activation_bytes``, which this module
registers, is the paper's sum over activations beside the peak, ``activation_bytes``.

Where hardware or a fault of the code asked for something else:

* Steps are powers of two, 2**round(log2 d), as in the code's earlier versions; xmax is free in the search.
* With one candidate only the step is learned, within an octave of the one of least squared error.
* xmax / d is at most the largest candidate's highest code. From the start of finetuning, in evaluation and on
  hardening the codes are those of hardware, low .. high of the bits: the range up to high * d is gained
  (a signed one beyond -r too), nothing within xmax is lost.
* Hardware has one bit-width for a weight. Where slices differ, it is the candidate nearest to their mean,
  the paper's measure of size, and the budget pays for that; slices of more bits get the coarser step whose
  threshold is nearest to xmax.
* Between updates d and xmax get no gradient, as in the code, and stay bit for bit (the code: drift by momentum).
* Bounds are the code's, d 2**-12 .. 1 (activations 8), xmax 2**-8 .. 127, or what the start needs beyond.
* An update moves d and xmax at most by ``rate`` * d under any optimizer (training.pace), faster and more
  often in a short search; the code clips their gradients to -d .. d and leaves the rest to RMSProp.
* The penalty is relative, strength * rho * relu(cost / target - 1)**2: the code's 1e-4 * relu(kB - kB)**2 is
  that with strength 300 for EfficientNet-Lite0 at 3 bits (1731 kB), and ``kilobytes`` has the code's own, of
  budgets in bytes. Ours is weaker, and its target falls from that of ``start_rate`` to the budget's while rho
  rises, so that the task's gradient has a say in which slices lose bits; start_rate 32 has the budget's from the
  start.
* Biases are on the accumulators' steps; the code quantizes that of its dense layer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from mpq_plugins.array_ops.protocol import DELTA, Array, Ops
from mpq_plugins.array_ops.reference import NUMPY
from mpq_plugins.array_ops.surrogates import check_rounding
from mpq_plugins.costs.cost_models import CostModel
from mpq_plugins.errors import MPQError
from mpq_plugins.grid import Grid
from mpq_plugins.papers.fdqmp_start import start_range
from mpq_plugins.papers.slices import codes_of, constants_of, held_by, held_steps, nearest
from mpq_plugins.papers.total_activations import TotalActivationBytes
from mpq_plugins.plugins.hookspecs import hookimpl
from mpq_plugins.training import schedules
from mpq_plugins.training.alone import alone
from mpq_plugins.training.bank import Bank
from mpq_plugins.training.exponents import exponent_above
from mpq_plugins.training.grids import Grids
from mpq_plugins.training.hyper_parameters import check_ranges
from mpq_plugins.training.layout import Extent
from mpq_plugins.training.method import Arrays, Numbers, Progress, Spent, Start, TrainingMethod
from mpq_plugins.training.pace import AUDIBLE, paced
from mpq_plugins.training.regularizers import over_target
from mpq_plugins.training.slot import Observed, Slot
from mpq_plugins.training.starting_grid import least_error_grid

_UPDATES = 100  # a search has at least, if need be by updates in shorter intervals
_WAY = 4.5  # octaves, about, that a step should be able to go while the target falls
_FASTEST = 0.15  # of its length that a step moves in an update, however short the search
_OPEN = 1e30  # no gradient reaches it
_STEPS = {"weight": (2.0**-12, 1.0), "activation": (2.0**-12, 8.0)}
_RANGES = (2.0**-8, 127.0)


@dataclass(frozen=True)
class Fdqmp(TrainingMethod):
    """The method; a value.

    initial_bits: of the start; None for the largest candidate (the paper: target average + 2).
    pretrain, search: shares of the training; finetuning has the rest (the paper: a third each).
    """

    name: ClassVar[str] = "fdqmp"
    summary: ClassVar[str] = "step and range learned for each slice, bits derived, under the budget's penalty"
    paper: ClassVar[str] = "arXiv:2206.07741"
    searches_bits: ClassVar[bool] = True
    pressure: ClassVar[str] = "strength"

    initial_bits: int | None = None
    power_of_two: bool = True
    weight_rounding: str = "ewgs"
    activation_rounding: str = "inverse_tanh"
    delta: float = DELTA
    pretrain: float = 0.1
    search: float = 0.5
    update_every: int = 4
    rate: float = 0.05
    strength: float = 10.0
    start_rate: float = 4.0
    kilobytes: bool = False

    def __post_init__(self) -> None:
        check_rounding(self.weight_rounding)
        check_rounding(self.activation_rounding)
        check_ranges(
            "fdqmp",
            {
                "initial_bits": (2 if self.initial_bits is None else self.initial_bits, 1, 16),
                "delta": (self.delta, 0.0, 1.0),
                "pretrain": (self.pretrain, 0.0, 1.0),
                "search": (self.search, 0.0, 1.0),
                "pretrain + search": (self.pretrain + self.search, 0.0, 1.0),
                "update_every": (self.update_every, 1, math.inf),
                "rate": (self.rate, 1e-6, 1.0),
                "strength": (self.strength, 0.0, math.inf),
                "start_rate": (self.start_rate, 1.0, 64.0),
            },
        )

    def start(self, slot: Slot, observed: Observed) -> Start:
        """step and, of several candidates, range: [] or [channels].

        State: exponent, log2 of the step in use; least_step to most_range, bounds; moments.
        """
        bits = min(max(self.initial_bits or slot.bits[-1], slot.bits[0]), slot.bits[-1])
        largest = start_range(slot, observed, bits)
        if len(slot.bits) == 1:
            step = np.reshape(least_error_grid(slot, observed, bits).steps, slot.step_shape)
        else:
            step = largest / max(slot.high(bits), 1)
        if self.power_of_two:
            step = np.ldexp(1.0, exponent_above(step))
        step = np.asarray(step, dtype=np.float32)
        zeros = np.zeros_like(step)
        state = {"exponent": np.rint(np.log2(step)), "step_moment": zeros}
        if len(slot.bits) == 1:
            return Start({"step": step}, state | {"least_step": step / 2, "most_step": step * 2})
        largest = np.asarray(largest, dtype=np.float32)
        least, most = _STEPS[slot.kind]
        state |= {"least_step": np.minimum(step, least), "most_step": np.maximum(step, most)}
        state |= {"least_range": np.minimum(largest, _RANGES[0]), "most_range": np.maximum(largest, _RANGES[1])}
        return Start({"step": step, "range": largest}, state | {"range_moment": zeros})

    def extents(self, bank: Bank) -> Mapping[str, Extent]:
        """Everything belongs to a slice."""
        bounds = ("least_step", "most_step", "least_range", "most_range")
        return dict.fromkeys(("step", "range", "exponent", "step_moment", "range_moment", *bounds), "channel")

    def constants(self, bank: Bank) -> Numbers:
        """By slice: the highest code, and of what the range is at least a share; fewest bits; 1 with signed codes."""
        channels = bank.layout.counts("channel")
        by_group = {
            "top": [slot.high(slot.bits[-1]) for slot in bank.slots],
            "bound": [max(slot.high(slot.bits[-1]), 1) for slot in bank.slots],
            "fewest": [slot.bits[0] for slot in bank.slots],
            "sign": [slot.signed for slot in bank.slots],
        }
        by_slice = {name: np.repeat(np.asarray(v, np.float32), channels) for name, v in by_group.items()}
        return by_slice | constants_of(bank)

    def controls(self, bank: Bank, progress: Progress) -> Mapping[str, float]:
        """update: 1.0 where steps and ranges may move; open: the largest gradient that reaches them; frozen: 1.0 in
        finetuning; rho, rise: of the penalty; rate.
        """
        searching = schedules.share_is_done(progress, self.pretrain)
        frozen = schedules.share_is_done(progress, self.pretrain + self.search)
        every = max(1, min(self.update_every, round(self.search * progress.steps / _UPDATES)))
        update = searching and not frozen and (progress.step + 1) % every == 0
        searched = schedules.share_of(progress, self.search, begin=self.pretrain)
        rho = schedules.linear(searched, 0.01, 1.0, until=0.5) if searching and not frozen else 0.0
        way = _WAY if len(bank.bits) > 1 else 0.0
        rate = schedules.brisk_rate(progress, 0.5 * self.search / every, self.rate, way, _FASTEST)
        rise = min(1.0, 2.0 * searched)
        moving = {"update": float(update), "open": _OPEN * update, "frozen": float(frozen)}
        return moving | {"rate": rate, "rho": rho, "rise": rise}

    def grids(
        self, ops: Ops, bank: Bank, x: Array, parameters: Arrays, state: Arrays, training: bool
    ) -> tuple[Sequence[Grids], Arrays]:
        """The slices' steps, up to their ranges; the grid of harden, if frozen or not training."""
        parameters = self._open(ops, parameters, state) if training else parameters
        step = self.step_in_use(ops, parameters["step"], state)
        named = self.weight_rounding if bank.kind == "weight" else self.activation_rounding
        rounding: Any = {"rounding": named, "delta": self.delta, "clip_first": True}
        if len(bank.bits) == 1:
            return [Grids(step, bank.low[:, 0], bank.high[:, 0], code_extent="group", **rounding)], {}
        coarse, bits = self._hardware(ops, bank, parameters, state)
        low, high = (bank.spread(ops, code, "group", "channel") for code in codes_of(ops, bank, bits))
        if training:
            top = ops.minimum(parameters["range"] / step, state["top"])
            frozen = state["frozen"]
            low = frozen * low - (1.0 - frozen) * (state["sign"] * top)
            high = frozen * high + (1.0 - frozen) * top
            step = frozen * coarse + (1.0 - frozen) * step
        else:
            step = coarse
        return [Grids(step, low, high, **rounding)], {}

    def step_in_use(self, ops: Ops, step: Array, state: Arrays) -> Array:
        """2**exponent, with the gradient of 2**round(log2 step), straight-through; or the step itself."""
        if not self.power_of_two:
            return step
        value = ops.exp2(state["exponent"])
        return value + (step - ops.stop_gradient(step)) * ops.stop_gradient(value / step)

    def slice_bits(self, ops: Ops, bank: Bank, parameters: Arrays, state: Arrays) -> Array:
        """ceil(log2(r + 1)) + signed, at least the smallest candidate; gradients as if there were no ceil."""
        ratio = parameters["range"] / self.step_in_use(ops, parameters["step"], state)
        top = ops.minimum(ops.round(ratio), state["top"])
        smooth = ops.log2(top + 1.0)
        # r + 1/2 instead of r + 1: the same ceil, and no hair above a whole number by rounding of the logarithm
        whole = ops.stop_gradient(ops.ceil(ops.log2(top + 0.5)))
        bits = whole + (smooth - ops.stop_gradient(smooth)) + state["sign"]
        return ops.maximum(bits, state["fewest"])

    def expected_bits(self, ops: Ops, bank: Bank, parameters: Arrays, state: Arrays) -> Array:
        """What hardware would hold the slices in, with the mean gradient of the slices' bits."""
        if len(bank.bits) == 1:
            return super().expected_bits(ops, bank, parameters, state)
        bits = self.slice_bits(ops, bank, self._open(ops, parameters, state), state)
        chosen = nearest(ops, bank, held_by(ops, bank, bits, state), state)
        moving = bank.mean(ops, bits - ops.stop_gradient(bits), "channel", "group")
        return chosen + (1.0 - state["frozen"]) * moving

    def penalty(self, ops: Ops, spent: Sequence[Spent], state: Arrays) -> Array:
        """strength * rho * relu(cost / target - 1)**2 for each resource; or the paper's, in kB squared."""
        self.check_budget({s.resource: s.unit or ("bytes" if s.resource.endswith("bytes") else "") for s in spent})
        total: Array = 0.0
        for resource in spent:
            if self.kilobytes:
                over, strength = ops.relu((resource.cost - resource.limit) / 1000.0), 1e-4
            else:
                over, strength = over_target(ops, resource, self.start_rate, state["rise"]), self.strength
            total = total + strength * state["rho"] * over * over
        return total

    def check_budget(self, units: Mapping[str, str]) -> None:
        """The paper's own penalty is one of kilobytes."""
        others = [name for name, unit in units.items() if unit != "bytes"]
        if self.kilobytes and others:
            raise MPQError(
                f"fdqmp: kilobytes=True is a penalty in kB squared, and {', '.join(others)} is no number of bytes; "
                "limit weight_bytes, activation_bytes or total_activation_bytes, or leave kilobytes out"
            )

    def after_step(
        self, ops: Ops, bank: Bank, parameters: Arrays, previous: Arrays, state: Arrays
    ) -> tuple[Arrays, Arrays]:
        """On an update, step and range at their pace, in bounds, step <= range; else exactly what they were."""
        update = state["update"] > 0.5
        moved, updates = {}, {}
        for name in parameters:
            change = (parameters[name] - previous[name]) / previous["step"]
            steps, moment = paced(ops, change, change * 0.0, state[f"{name}_moment"], state["rate"])
            moved[name] = previous[name] + steps * previous["step"]
            moved[name] = ops.minimum(ops.maximum(moved[name], state[f"least_{name}"]), state[f"most_{name}"])
            updates[f"{name}_moment"] = ops.where(update, moment, state[f"{name}_moment"])
        if len(bank.bits) > 1:
            moved["step"] = ops.minimum(ops.maximum(moved["step"], moved["range"] / state["bound"]), moved["range"])
        kept = {name: ops.where(update, moved[name], previous[name]) for name in moved}
        exponent = ops.stop_gradient(ops.round(ops.log2(kept["step"])))
        return kept, updates | {"exponent": ops.where(update, exponent, state["exponent"])}

    def preferences(self, slot: Slot, parameters: Numbers, state: Numbers) -> Mapping[int, float]:
        """Bits away from the mean of the slices."""
        if len(slot.bits) == 1:
            return {slot.bits[0]: 0.0}
        bank, parameters, state = alone(self, slot, parameters, state)
        held = held_by(NUMPY, bank, self.slice_bits(NUMPY, bank, parameters, state), state)
        own, bits = int(nearest(NUMPY, bank, held, state)[0]), float(np.mean(held))
        return {b: 0.0 if b == own else max(abs(b - bits), 1e-6) for b in slot.bits}

    def harden(self, slot: Slot, parameters: Numbers, state: Numbers, bits: int | None = None) -> Grid:
        """The grid of the candidate nearest to the slices' mean, or of ``bits``; see the module for slices of more."""
        slot.check_candidate(bits)
        bank, parameters, state = alone(self, slot, parameters, state)
        if len(slot.bits) == 1:
            step, chosen = self.step_in_use(NUMPY, parameters["step"], state), slot.bits
        else:
            step, chosen = self._hardware(NUMPY, bank, parameters, state, bits)
        return slot.grid(int(chosen[0]), np.reshape(step, slot.step_shape))

    def settles_at(self) -> float:
        """The end of ``pretrain`` and ``search``."""
        return self.pretrain + self.search

    def least_steps(self, bits: Sequence[int], wanted: float) -> int:
        """Octaves of the step, an update in each step of the search proper."""
        first = min(max(self.initial_bits or bits[-1], bits[0]), bits[-1])
        updates = (first - max(wanted, bits[0])) / math.log2(1.0 + max(_FASTEST, self.rate))
        return max(0, math.ceil(updates / (self.search or 1.0)))

    def settled(self, slot: Slot, parameters: Numbers, state: Numbers, grid: Grid) -> Start:
        """The grid's step in every slice, and the range of its bits."""
        step = np.reshape(grid.steps, slot.step_shape).astype(np.float32)
        largest = (step * max(slot.high(grid.bits), 1)).astype(np.float32)
        return Start({"step": step, "range": largest}, {"exponent": np.rint(np.log2(step))})

    def gradient_scale(self, bank: Bank) -> float:
        """Any that is heard: the pace is the method's own."""
        return AUDIBLE

    def _open(self, ops: Ops, parameters: Arrays, state: Arrays) -> Arrays:
        """Parameters that no gradient reaches between updates, so that no optimizer's momentum takes one in."""
        return {name: ops.limit_gradient(value, state["open"]) for name, value in parameters.items()}

    def _hardware(
        self, ops: Ops, bank: Bank, parameters: Arrays, state: Arrays, bits: float | None = None
    ) -> tuple[Array, Array]:
        """Steps, and the one bit-width of each group on the hardware's grid, without gradient."""
        own = ops.stop_gradient(self.slice_bits(ops, bank, parameters, state))
        chosen = nearest(ops, bank, held_by(ops, bank, own, state), state)
        if bits is not None:
            chosen = chosen * 0.0 + float(bits)
        step = ops.stop_gradient(self.step_in_use(ops, parameters["step"], state))
        by_slice, reach = bank.spread(ops, chosen, "group", "channel"), ops.stop_gradient(parameters["range"])
        return held_steps(ops, step, reach, own, by_slice, by_slice - state["sign"], self.power_of_two), chosen


@hookimpl
def mpq_register_methods(register: Callable[[Any], None]) -> None:
    """Register fdqmp."""
    register(Fdqmp())


@hookimpl
def mpq_register_cost_models(register: Callable[[str, CostModel], None]) -> None:
    """Register total_activation_bytes."""
    register("total_activation_bytes", TotalActivationBytes())

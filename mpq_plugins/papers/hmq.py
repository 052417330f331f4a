"""hmq: one Gumbel-softmax over thresholds and bit-widths; the tensor is quantized once, by its expectation.

From "HMQ: Hardware Friendly Mixed Precision Quantization Block for CNNs" (2007.09952) and the authors'
released code. Every pair of a candidate bit-width b_j and a power-of-two threshold t_k has a logit. A
training step draws P from their Gumbel-softmax and quantizes with the expected step and threshold

    E[step] = sum P_jk t_k 2**(signed - b_j),    E[t] = sum P_jk t_k       (equations 5 and 6)

between codes -n .. n - 1, n = E[t] / E[step]. Their gradients, and that of the penalty, which is free of
noise, reach the logits; nothing else does.

Where this differs from the released code, or had to be chosen:

* Codes are two's complement, -n .. n - 1 (unsigned: 0 .. n - 1). The code's range is mirrored and, where
  unsigned, one code too long for its bits; ``mirrored`` trains with it. Evaluation and harden use what
  hardware has in either case.
* Logits start from the squared error of the tensor on each grid (``error_prior``), so that a short search
  need not learn what can be measured; 0 gives the code's start, noise and the largest threshold.
* Weights draw once per input channel where the slot says which axis that is; activations once per step
  (the code: once per image). A weight with a step per channel shares one choice of bits and of octaves
  below each channel's largest threshold.
* Lengths are shares of the search, in the paper's proportions (30 epochs of search and 20 with the choice
  frozen, six cycles, four targets); ``cycle_epochs`` = 5 states cycles in epochs.
* Logits move at most ``rate`` per step under any optimizer (training.pace), faster in a search of
  fewer than 170 steps; the paper's RAdam: 0.01.
* Activation bits follow the paper's rule where ``activation_rate`` is given (the paper: 8), whose rate rises
  in the weights' stages while training; otherwise they are learned like those of weights.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.array_ops.protocol import Array, Ops
from mpq_plugins.array_ops.reference import NUMPY
from mpq_plugins.errors import MPQError
from mpq_plugins.grid import Grid
from mpq_plugins.papers.activation_rule import activation_bits, eased_bits
from mpq_plugins.papers.hmq_start import largest_thresholds, logits_by_error, logits_of_the_paper
from mpq_plugins.plugins.hookspecs import hookimpl
from mpq_plugins.training import schedules
from mpq_plugins.training.bank import Bank
from mpq_plugins.training.grids import Grids
from mpq_plugins.training.hyper_parameters import check_ranges
from mpq_plugins.training.layout import Extent
from mpq_plugins.training.method import NOISE, Arrays, Numbers, Progress, Spent, Start, TrainingMethod
from mpq_plugins.training.pace import AUDIBLE, paced
from mpq_plugins.training.slot import Observed, Slot

Base = Literal["calibration", "average"]
_EPSILON = 1e-6  # of the Gumbel draw: the released code's
_SURE = 20.0  # a logit beside which no other counts
_WAY = 5.0  # that the logits of open bits should be able to go within a search
_FASTEST = 1.0  # that a logit moves in a step, however short the search


@dataclass(frozen=True)
class Hmq(TrainingMethod):
    """The method; a value.

    thresholds: candidates, each half of the one before. top_probability: of the largest bits at the start.
    error_prior: power of the inverse squared error that the start gives each threshold. strength: of the
    penalty (gamma). start_rate: first compression to reach; ``stages`` targets rise from it to the budget's.
    search_share: part of the search after which the choice is frozen. rate: largest step of a logit.
    strict: whether the outermost codes pass no gradient to the tensor, as in the code; they are half of 2 bits.
    gumbel_ste: whether a step takes the likeliest pair of its draw, with the draw's gradient, and not the expectation
        (an option of the code, off there too).
    activation_base: what the largest threshold of an activation is at or above: the largest magnitude of the
        "calibration" values, or the moving "average" of those of its batches (the code: of a pass over the data).
    largest_activation: number of elements of the largest, which a plan fills in (``fitted``).
    """

    name: ClassVar[str] = "hmq"
    summary: ClassVar[str] = "thresholds and bits by one Gumbel-softmax, trained under a rising compression target"
    paper: ClassVar[str] = "arXiv:2007.09952"
    searches_bits: ClassVar[bool] = True
    pressure: ClassVar[str] = "strength"

    thresholds: int = 8
    top_probability: float = 0.95
    error_prior: float = 2.0
    strength: float = 32.0
    start_rate: float = 4.0
    stages: int = 4
    cycles: int = 6
    cycle_epochs: float | None = None
    search_share: float = 0.6
    temperature_floor: float = 0.5
    rate: float = 0.05
    activation_rate: float | None = None
    mirrored: bool = False
    strict: bool = True
    gumbel_ste: bool = False
    activation_base: Base = "calibration"
    largest_activation: int | None = None

    def __post_init__(self) -> None:
        if self.activation_base not in get_args(Base):
            raise MPQError(f"hmq: activation_base is {' or '.join(get_args(Base))}, got {self.activation_base!r}")
        check_ranges(
            "hmq",
            {
                "thresholds": (self.thresholds, 1, 24),
                "top_probability": (self.top_probability, 0.01, 0.999),
                "error_prior": (self.error_prior, 0.0, 100.0),
                "strength": (self.strength, 0.0, math.inf),
                "start_rate": (self.start_rate, 1.0, 64.0),
                "stages": (self.stages, 1, 1000),
                "cycles": (self.cycles, 1, 1000),
                "cycle_epochs": (1.0 if self.cycle_epochs is None else self.cycle_epochs, 1e-6, math.inf),
                "search_share": (self.search_share, 0.0, 1.0),
                "temperature_floor": (self.temperature_floor, 0.01, 1.0),
                "rate": (self.rate, 1e-6, 10.0),
                "activation_rate": (1.0 if self.activation_rate is None else self.activation_rate, 1e-3, math.inf),
            },
        )

    def start(self, slot: Slot, observed: Observed) -> Start:
        """Logits [bits x thresholds], the largest bits and the largest threshold first; base: largest thresholds."""
        base = largest_thresholds(slot, observed, self.activation_base == "average")
        bits = _bits(slot)
        if self.error_prior:
            prior = self.error_prior, self.top_probability
            logits = logits_by_error(slot, observed, base, bits, self.thresholds, *prior)
        else:
            random = np.random.default_rng(zlib.crc32(slot.name.encode()))
            logits = logits_of_the_paper(random, len(bits), self.thresholds, self.top_probability)
        flat = logits.astype(np.float32).ravel()
        return Start({"logits": flat}, {"base": base.astype(np.float32), "moment": np.zeros_like(flat)})

    def fitted(self, slots: Sequence[Slot]) -> Hmq:
        """Knowing the number of elements of the largest activation, which the rule compares with."""
        if self.activation_rate is None:
            return self
        return replace(self, largest_activation=max((s.elements for s in slots if s.kind == "activation"), default=1))

    def settled_bits(self, slots: Sequence[Slot], limits: Mapping[str, float]) -> Mapping[str, int]:
        """The rule's bits of activations, where ``activation_rate`` is given."""
        if self.activation_rate is None:
            return {}
        activations = [slot for slot in slots if slot.kind == "activation"]
        sizes = {slot.name: slot.elements for slot in activations}
        return activation_bits(sizes, self.activation_rate, {slot.name: slot.bits for slot in activations})

    def extents(self, bank: Bank) -> Mapping[str, Extent]:
        """One set of logits a group; a largest threshold for each channel."""
        return {"logits": "group", "base": "channel", "moment": "group"}

    def constants(self, bank: Bank) -> Numbers:
        """Step and threshold of every pair, as multiples of the largest threshold, and its bits."""
        thresholds = np.tile(2.0 ** -np.arange(self.thresholds), len(bank.bits))
        bits = np.repeat(np.asarray(bank.bits[::-1], dtype=float), self.thresholds)
        steps = thresholds * 2.0 ** (np.array([[float(slot.signed)] for slot in bank.slots]) - bits)
        return {"steps": steps, "thresholds": thresholds, "bits": bits} | self._easing(bank)

    def noise(self, bank: Bank) -> tuple[Extent, tuple[int, ...]]:
        """One set of draws per input channel of a weight, where the group knows the axis; else one."""
        return "input_channel", (len(bank.bits) * self.thresholds,)

    def controls(self, bank: Bank, progress: Progress) -> Mapping[str, float]:
        """temperature of the softmax; rise of the target, 0 .. 1; frozen, 1.0 once the choice is made; rate."""
        cycle = max(1.0, self.search_share * progress.steps / self.cycles)
        if self.cycle_epochs is not None:
            cycle = max(1.0, self.cycle_epochs * progress.epoch_steps)
        return {
            "temperature": schedules.cyclic_temperature(progress.step, cycle, 125, 0.01, self.temperature_floor),
            "rise": schedules.staircase(int(progress.step / cycle), self.stages),
            "frozen": float(schedules.share_is_done(progress, self.search_share)),
            "rate": schedules.brisk_rate(
                progress, self.search_share, self.rate, _WAY if len(bank.bits) > 1 else 0.0, _FASTEST
            ),
        }

    def grids(
        self, ops: Ops, bank: Bank, x: Array, parameters: Arrays, state: Arrays, training: bool
    ) -> tuple[Sequence[Grids], Arrays]:
        """The grid of the expected step and threshold; of the choice, when frozen or not training."""
        rows: Extent = "input_channel" if training else "group"
        logits = bank.spread(ops, parameters["logits"], "group", rows)
        p = bank.spread(ops, self._choice(ops, bank, parameters["logits"]), "group", rows)
        if training:
            gumbel = -ops.log(-ops.log(state[NOISE] + _EPSILON) + _EPSILON)
            drawn = ops.softmax((logits + gumbel) / state["temperature"])
            if self.gumbel_ste:
                one = ops.one_hot(ops.argmax(drawn), len(bank.bits) * self.thresholds, drawn)
                drawn = ops.stop_gradient(one - drawn) + drawn
            p = state["frozen"] * p + (1.0 - state["frozen"]) * drawn
        step = ops.sum(p * bank.spread(ops, state["steps"], "group", rows), axis=-1)
        if training and "easing" in state:
            step = step / bank.spread(ops, self._finer(ops, state), "group", rows)
        low, high = self._codes(ops, bank, p, step, state, rows, training)
        to: Extent = "kernel" if training else "channel"
        step = bank.spread(ops, state["base"], "channel", to) * bank.spread(ops, step, rows, to)
        return [Grids(step, low, high, to, rows, strict=self.strict)], {}

    def expected_bits(self, ops: Ops, bank: Bank, parameters: Arrays, state: Arrays) -> Array:
        """Free of noise: sum of b_j P_jk; the chosen bits, without gradient, once frozen."""
        logits, bits, frozen = parameters["logits"], state["bits"], state["frozen"]
        chosen = ops.sum(self._choice(ops, bank, logits) * bits, axis=-1)
        return frozen * chosen + (1.0 - frozen) * ops.sum(ops.softmax(logits) * bits, axis=-1)

    def penalty(self, ops: Ops, spent: Sequence[Spent], state: Arrays) -> Array:
        """strength * relu((Rw - R) / Rw)**2 for each resource; R its compression rate, Rw the target of the moment."""
        total: Array = 0.0
        for resource in spent:
            target = schedules.rising_rate(self.start_rate, resource.float_cost / resource.limit, state["rise"])
            short = ops.relu(1.0 - resource.float_cost / resource.cost / target)
            total = total + self.strength * short * short
        return total

    def after_step(
        self, ops: Ops, bank: Bank, parameters: Arrays, previous: Arrays, state: Arrays
    ) -> tuple[Arrays, Arrays]:
        """Logits at their own pace; unmoved once frozen."""
        logits, moment = paced(ops, parameters["logits"], previous["logits"], state["moment"], state["rate"])
        return {"logits": ops.where(state["frozen"] > 0.5, previous["logits"], logits)}, {"moment": moment}

    def preferences(self, slot: Slot, parameters: Numbers, state: Numbers) -> Mapping[int, float]:
        """-log of each bit-width's probability over that of the likeliest."""
        marginal = self._probabilities(slot, parameters["logits"]).sum(axis=1)
        costs = np.log(marginal.max()) - np.log(np.maximum(marginal, np.finfo(np.float64).tiny))
        own = int(np.argmax(marginal))
        return {b: 0.0 if j == own else max(float(costs[j]), 1e-9) for j, b in enumerate(_bits(slot))}

    def harden(self, slot: Slot, parameters: Numbers, state: Numbers, bits: int | None = None) -> Grid:
        """The likeliest bits over all thresholds, then their likeliest threshold (not the likeliest pair).

        Thresholds of bits that the search turned away from keep what the start knew of them.
        """
        slot.check_candidate(bits)
        p = self._probabilities(slot, parameters["logits"])
        row = int(np.argmax(p.sum(axis=1))) if bits is None else _bits(slot).index(bits)
        shift = int(np.argmax(p[row]))
        chosen = _bits(slot)[row]
        step = np.asarray(state["base"], dtype=np.float64) * 2.0 ** (int(slot.signed) - chosen - shift)
        return slot.grid(chosen, step)

    def settles_at(self) -> float:
        """``search_share``."""
        return self.search_share

    def least_steps(self, bits: Sequence[int], wanted: float) -> int:
        """The logits' way, after the first of the cycles, whose target asks for next to nothing."""
        if wanted >= bits[-1]:
            return 0
        return math.ceil(_WAY / max(_FASTEST, self.rate) / (self.search_share * (1.0 - 1.0 / (self.cycles + 1)) or 1.0))

    def settled(self, slot: Slot, parameters: Numbers, state: Numbers, grid: Grid) -> Start:
        """All probability on the grid's bits and its threshold, which becomes the largest."""
        logits = np.zeros((len(slot.bits), self.thresholds), np.float32)
        logits[_bits(slot).index(grid.bits), 0] = _SURE
        base = np.reshape(np.asarray(grid.steps) * 2.0 ** (grid.bits - int(slot.signed)), slot.step_shape)
        moment = np.zeros(logits.size, np.float32)
        return Start({"logits": logits.ravel()}, {"base": base.astype(np.float32), "moment": moment})

    def gradient_scale(self, bank: Bank) -> float:
        """Any that is heard: the pace is the method's own."""
        return AUDIBLE

    def _easing(self, bank: Bank) -> dict[str, NDArray[Any]]:
        """By how much finer an activation of the rule's bits is than in the end, [groups, stages]."""
        if bank.kind == "weight" or len(bank.bits) > 1 or self.activation_rate is None or not self.largest_activation:
            return {}
        rises = [schedules.staircase(stage, self.stages) for stage in range(self.stages)]
        rates = [schedules.rising_rate(self.start_rate, self.activation_rate, rise) for rise in rises]
        found = [eased_bits(max(s.elements, 1), self.largest_activation, rates, s.bits[0]) for s in bank.slots]
        return {"easing": 2.0 ** (np.array(found, np.float64) - bank.bits[0])}

    def _finer(self, ops: Ops, state: Arrays) -> Array:
        """The same at the stage of the moment, [groups]."""
        places = ops.array([float(stage) for stage in range(self.stages)], state["easing"])
        now = ops.cast(ops.abs(places - state["rise"] * (self.stages - 1.0)) < 0.5, state["easing"])
        return ops.sum(now * state["easing"], axis=-1)

    def _probabilities(self, slot: Slot, logits: NDArray[Any]) -> NDArray[np.float64]:
        p = NUMPY.softmax(np.asarray(logits, dtype=np.float64))
        return np.asarray(p.reshape(len(slot.bits), self.thresholds))

    def _choice(self, ops: Ops, bank: Bank, logits: Array) -> Array:
        """One-hot, without gradient: marginal over thresholds first, then the threshold of those bits."""
        sizes = len(bank.bits), self.thresholds
        p = ops.reshape(ops.softmax(ops.stop_gradient(logits)), [-1, *sizes])
        row = ops.reshape(ops.one_hot(ops.argmax(ops.sum(p, axis=2)), sizes[0], p), [-1, sizes[0], 1])
        column = ops.one_hot(ops.argmax(ops.sum(row * p, axis=1)), sizes[1], p)
        return ops.reshape(row * ops.reshape(column, [-1, 1, sizes[1]]), [-1, sizes[0] * sizes[1]])

    def _codes(
        self, ops: Ops, bank: Bank, p: Array, step: Array, state: Arrays, rows: Extent, training: bool
    ) -> tuple[Array, Array]:
        """Lowest and highest code, rows; whole numbers without gradient where the bits are fixed."""
        signed, narrow = (bank.spread(ops, v, "group", rows) for v in (bank.signed, bank.narrow))
        if len(bank.bits) == 1:
            n = bank.high[:, 0] + 1.0
            if training and "easing" in state:
                n = n * self._finer(ops, state)
            n = bank.spread(ops, n, "group", rows)
        else:
            n = ops.sum(p * state["thresholds"], axis=-1) / step
        if self.mirrored and training:
            return signed * (1.0 - n) + 0.0, n
        return signed * (narrow - n) + 0.0, n - 1.0


def _bits(slot: Slot) -> tuple[int, ...]:
    return slot.bits[::-1]


@hookimpl
def mpq_register_methods(register: Callable[[Any], None]) -> None:
    """Register hmq."""
    register(Hmq())

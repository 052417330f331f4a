"""Tensors and slots on which training methods are checked, and a short training of them in plain NumPy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.hardware.op_support import Candidate
from mpq_plugins.testing.nonconforming import Nonconforming, require
from mpq_plugins.testing.one_group import OneGroup
from mpq_plugins.thresholds.histogram import Histogram
from mpq_plugins.training.bank import Bank
from mpq_plugins.training.method import NOISE, Progress, TrainingMethod
from mpq_plugins.training.slot import Observed, Slot

STEPS, EPOCH = 40, 10
SEARCHED, FIXED = (2, 4, 8), (4,)

Floats = NDArray[np.float32]
Named = Mapping[str, Floats]


@dataclass(frozen=True)
class Case:
    """A tensor and its slot. x: float32, in the slot's shape; of some samples, for an activation."""

    name: str
    slot: Slot
    x: Floats

    @property
    def observed(self) -> Observed:
        """What a method may look at before it starts."""
        if self.slot.kind == "weight":
            return self.x
        histogram = Histogram()
        histogram.update(self.x)
        return histogram


@dataclass(frozen=True)
class Moment:
    """A point of a training: parameters and state, all float32, and how much of the training is done."""

    parameters: Named
    state: Named
    progress: Progress


def cases(method: TrainingMethod) -> list[Case]:
    """Weights in both frameworks' layouts, per tensor and per channel, activations, and what is all zero.

    With several candidates where the method chooses among them, and with one in any case.
    """
    random = np.random.default_rng(7)
    weight = (random.standard_normal((6, 4, 3, 3)) * 0.2).astype(np.float32)
    kernel = np.ascontiguousarray(weight.transpose(2, 3, 1, 0))
    values = random.standard_normal((8, 5, 4)).astype(np.float32)
    positive = np.maximum(values, 0)
    one_dead = weight * np.array([0, 1, 1, 1, 1, 1], np.float32).reshape(-1, 1, 1, 1)
    every = [
        _case("weight", "weight", weight),
        _case("weight, inputs known", "weight", weight, input_axis=1),
        _case("weight by channel", "weight", weight, axis=0),
        _case("weight by channel, channels last", "weight", kernel, axis=3, input_axis=2),
        _case("narrow weight", "weight", weight, narrow=True),
        _case("zero weight", "weight", np.zeros_like(weight)),
        _case("weight with a zero channel", "weight", one_dead, axis=0),
        _case("activation", "activation", values),
        _case("activation without signs", "activation", positive, signed=False),
        _case("zero activation", "activation", np.zeros_like(values), signed=False),
    ]
    if not method.searches_bits:
        return every
    several = [replace(case, slot=replace(case.slot, candidates=_of(case.slot, SEARCHED))) for case in every]
    return several + [replace(every[at], name=f"{every[at].name}, fixed bits") for at in (0, 2, 8)]


def begin(method: TrainingMethod, case: Case) -> Moment:
    """The start of a training. Raises Nonconforming for what is no start."""
    start = method.start(case.slot, case.observed)
    word = f"method {method.name!r} on the {case.name}"
    for kind in ("parameters", "state"):
        for name, value in getattr(start, kind).items():
            array = np.asarray(value)
            require(
                array.dtype.kind in "fiub" and np.all(np.isfinite(array)),
                f"{word}: {kind} {name!r} starts as {array.dtype} with values that are no finite numbers",
            )
    shared = set(start.parameters) & set(start.state)
    require(not shared, f"{word}: {', '.join(sorted(shared))} is both a parameter and state")
    return at(method, case, Moment(_floats(start.parameters), _floats(start.state), Progress(0, STEPS, EPOCH)))


def at(method: TrainingMethod, case: Case, moment: Moment) -> Moment:
    """The moment with its schedule's controls, and all noise at one half."""
    controls = _floats(method.controls(Bank.of([case.slot]), moment.progress))
    state = {**moment.state, **controls}
    shape = OneGroup(method, case.slot).noise_shape()
    if shape is not None:
        state[NOISE] = np.full(shape, 0.5, np.float32)
    return replace(moment, state=state)


def train(method: TrainingMethod, case: Case, steps: int, seed: int = 0) -> Moment:
    """A training in NumPy under an optimizer that moves all parameters at random; after ``steps`` of STEPS steps.

    Raises Nonconforming where a shape changes or a name appears.
    """
    random = np.random.default_rng(seed)
    moment = begin(method, case)
    first, one = moment, OneGroup(method, case.slot)
    drift = {name: random.standard_normal(value.shape) for name, value in moment.parameters.items()}
    for step in range(steps):
        moment = at(method, case, replace(moment, progress=Progress(step, STEPS, EPOCH)))
        if NOISE in moment.state:
            draws = random.random(moment.state[NOISE].shape).astype(np.float32)
            moment = replace(moment, state={**moment.state, NOISE: draws})
        state = dict(moment.state)
        _, updates = one.quantize(case.x, moment.parameters, state, True)
        state.update(_kept(method, case, "grids", first.state, updates))
        if method.needs_gradient and case.slot.kind == "weight":
            gradient = random.standard_normal(case.x.shape).astype(np.float32)
            updates = one.after_backward(case.x, gradient, moment.parameters, state)
            state.update(_kept(method, case, "after_backward", first.state, updates))
        moved = {
            name: np.asarray(v + 0.01 * (drift[name] + random.standard_normal(v.shape)), np.float32)
            for name, v in moment.parameters.items()
        }
        changed, updates = one.after_step(moved, moment.parameters, state)
        moved.update(_kept(method, case, "after_step", first.parameters, changed))
        state.update(_kept(method, case, "after_step", first.state, updates))
        moment = Moment(moved, state, Progress(step + 1, STEPS, EPOCH))
    return at(method, case, replace(moment, progress=Progress(steps, STEPS, EPOCH)))


def _kept(method: TrainingMethod, case: Case, function: str, known: Named, updates: Mapping[str, Any]) -> Named:
    """Updates as float32, after a look at their names and shapes."""
    found = _floats(updates)
    for name, value in found.items():
        word = f"method {method.name!r} on the {case.name}: {function} "
        if name not in known:
            raise Nonconforming(f"{word}updates {name!r}, which start did not return; it has {', '.join(known)}")
        require(
            value.shape == known[name].shape,
            f"{word}changes the shape of {name!r} from {known[name].shape} to {value.shape}",
        )
        require(np.all(np.isfinite(value)), f"{word}gives {name!r} NaN or infinite values")
    return found


def _case(
    name: str,
    kind: Literal["weight", "activation"],
    x: Floats,
    axis: int | None = None,
    input_axis: int | None = None,
    signed: bool = True,
    narrow: bool = False,
) -> Case:
    shape = x.shape if kind == "weight" else x.shape[1:]
    candidates = tuple(Candidate(b, signed, axis is not None, narrow) for b in FIXED)
    return Case(name, Slot("site", kind, shape, candidates, axis, input_axis), x)


def _of(slot: Slot, bits: tuple[int, ...]) -> tuple[Candidate, ...]:
    return tuple(replace(slot.candidates[0], bits=b) for b in bits)


def _floats(values: Mapping[str, Any]) -> dict[str, Floats]:
    return {name: np.asarray(value, np.float32) for name, value in values.items()}

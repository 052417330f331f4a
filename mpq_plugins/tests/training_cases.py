"""Slots and starts on which training methods are compared."""

from __future__ import annotations

from typing import Any

import numpy as np

from mpq_plugins.hardware.op_support import Candidate
from mpq_plugins.testing.one_group import OneGroup
from mpq_plugins.thresholds.histogram import Histogram
from mpq_plugins.training.bank import Bank
from mpq_plugins.training.method import NOISE, Progress, TrainingMethod
from mpq_plugins.training.slot import Slot

RANDOM = np.random.default_rng(7)
WEIGHT = (RANDOM.standard_normal((6, 4, 3, 3)) * 0.2).astype(np.float32)
KERAS_WEIGHT = np.ascontiguousarray(WEIGHT.transpose(2, 3, 1, 0))
ACTIVATION = np.maximum(RANDOM.standard_normal((8, 5, 4)), 0).astype(np.float32)
BITS = (2, 3, 4, 6, 8)


def slot(kind="weight", bits=BITS, axis=None, shape=WEIGHT.shape, input_axis=None, signed=True, narrow=False) -> Slot:
    candidates = tuple(Candidate(b, signed, axis is not None, narrow) for b in bits)
    return Slot("site", kind, shape, candidates, axis, input_axis)


def of_activation(x: np.ndarray) -> Histogram:
    histogram = Histogram()
    histogram.update(x)
    return histogram


CASES: dict[str, tuple[Slot, np.ndarray]] = {
    "tensor": (slot(), WEIGHT),
    "tensor-inputs": (slot(input_axis=1), WEIGHT),
    "channels": (slot(axis=0), WEIGHT),
    "keras-channels": (slot(axis=3, shape=KERAS_WEIGHT.shape, input_axis=2), KERAS_WEIGHT),
    "narrow": (slot(narrow=True), WEIGHT),
    "one-candidate": (slot(bits=(4,)), WEIGHT),
    "one-candidate-channels": (slot(bits=(3,), axis=0), WEIGHT),
    "zeros": (slot(), np.zeros_like(WEIGHT)),
    "zero-channel": (slot(axis=0), WEIGHT * np.array([0, 1, 1, 1, 1, 1], np.float32).reshape(-1, 1, 1, 1)),
    "activation": (slot("activation", (8,), shape=(5, 4), signed=False), ACTIVATION),
    "activation-bits": (slot("activation", (4, 8), shape=(5, 4), signed=False), ACTIVATION),
    "zero-activation": (slot("activation", (4, 8), shape=(5, 4), signed=False), np.zeros_like(ACTIVATION)),
}


def begin(method: TrainingMethod, case: Slot, x: np.ndarray, progress: Progress | None = None) -> tuple[dict, dict]:
    """Parameters and state at the start, with controls and noise of one half."""
    start = method.start(case, of_activation(x) if case.kind == "activation" else x)
    state: dict[str, Any] = {name: np.asarray(value) for name, value in start.state.items()}
    shape = OneGroup(method, case).noise_shape()
    if shape is not None:
        state[NOISE] = np.full(shape, 0.5, np.float32)
    parameters = {name: np.asarray(value) for name, value in start.parameters.items()}
    return parameters, at(method, case, state, progress or Progress(0, 1000, 100))


def at(method: TrainingMethod, case: Slot, state: dict, progress: Progress) -> dict:
    """The state at another point of the schedule."""
    controls = method.controls(Bank.of([case]), progress)
    return state | {name: np.asarray(value, dtype=np.float32) for name, value in controls.items()}


def wander(method: TrainingMethod, case: Slot, x: np.ndarray, steps: int, seed: int) -> tuple[dict, dict]:
    """Parameters and state after an optimizer that moves everything at random."""
    random = np.random.default_rng(seed)
    one = OneGroup(method, case)
    parameters, state = begin(method, case, x)
    drift = {name: random.standard_normal(np.shape(value)) for name, value in parameters.items()}
    for step in range(steps):
        state = at(method, case, state, Progress(step, steps, steps))
        if NOISE in state:
            state[NOISE] = random.random(state[NOISE].shape).astype(np.float32)
        _, updates = one.quantize(x, parameters, state, True)
        state |= updates
        previous = parameters
        moved = {
            name: (v + 0.01 * (drift[name] + random.standard_normal(np.shape(v)))).astype(np.float32)
            for name, v in previous.items()
        }
        new, updates = one.after_step(moved, previous, state)
        parameters, state = moved | dict(new), state | dict(updates)
    return parameters, at(method, case, state, Progress(steps, steps, steps))

"""What a method that trains grids must hold to, by itself, in NumPy: see mpq_plugins.training.method.TrainingMethod."""

from __future__ import annotations

import io
from typing import Any

import numpy as np

from mpq_plugins.array_ops.reference import NUMPY
from mpq_plugins.errors import MPQError
from mpq_plugins.testing.nonconforming import Nonconforming, require, require_equal
from mpq_plugins.testing.one_group import OneGroup
from mpq_plugins.testing.sample_slots import EPOCH, STEPS, Case, Moment, at, begin, train
from mpq_plugins.training.bank import Bank
from mpq_plugins.training.method import Progress, Spent, TrainingMethod

LIMIT, FLOAT_COST = 3.0, 32.0
"""Of the budget that penalties are asked about: average bits of the weights."""


def check_evaluation(method: TrainingMethod, case: Case) -> None:
    """At the start, on the way and at the end, evaluation lies exactly on the grid that harden returns, and stays."""
    one = OneGroup(method, case.slot)
    for moment in _moments(method, case):
        word = _who(method, case, moment)
        grid = method.harden(case.slot, moment.parameters, moment.state)
        check_grid(method, case, grid, word)
        y, updates = one.quantize(case.x, moment.parameters, moment.state, False)
        require(not updates, f"{word}: grids updates {', '.join(updates)} with training=False")
        require_equal(y, grid.project(case.x), f"{word}: evaluation is off the grid of harden ({grid})")
        again, _ = one.quantize(y, moment.parameters, moment.state, False)
        require_equal(again, y, f"{word}: hardening is not idempotent; values on the grid move when quantized again")
        require(
            method.harden(case.slot, moment.parameters, moment.state) == grid,
            f"{word}: harden gives another grid twice",
        )


def check_grid(method: TrainingMethod, case: Case, grid: Any, word: str) -> None:
    """A grid of harden is of the slot's kind."""
    slot = case.slot
    candidate = next((c for c in slot.candidates if c.bits == grid.bits), None)
    if candidate is None:
        raise Nonconforming(f"{word}: harden gives {grid.bits} bits, and the candidates are {slot.bits}")
    for field in ("signed", "narrow", "axis"):
        require(
            getattr(grid, field) == getattr(slot, field),
            f"{word}: harden gives a grid with {field}={getattr(grid, field)}, and the slot has {getattr(slot, field)}",
        )
    require(
        grid.is_power_of_two or not candidate.power_of_two,
        f"{word}: harden gives steps that are no powers of two ({grid})",
    )


def check_choice(method: TrainingMethod, case: Case) -> None:
    """Every candidate can be hardened, the method's own choice costs nothing, and expected bits lie between."""
    for moment in _moments(method, case):
        word = _who(method, case, moment)
        slot, held = case.slot, (moment.parameters, moment.state)
        own = method.harden(slot, *held).bits
        preferences = dict(method.preferences(slot, *held))
        require(
            sorted(preferences) == list(slot.bits),
            f"{word}: preferences are about {sorted(preferences)} bits, and the candidates are {slot.bits}",
        )
        require(
            preferences[own] == 0 and all(np.isfinite(p) and p >= 0 for p in preferences.values()),
            f"{word}: the own choice, {own} bits, costs 0, and others 0 or more; preferences are {preferences}",
        )
        for bits in slot.bits:
            grid = method.harden(slot, *held, bits)
            require(grid.bits == bits, f"{word}: harden(bits={bits}) gives {grid.bits} bits")
            check_grid(method, case, grid, word)
        one = OneGroup(method, slot)
        expected = np.asarray(one.ask(method.expected_bits, *held))
        require(expected.shape == (1,), f"{word}: expected_bits of one group has the shape {expected.shape}, not (1,)")
        require(
            np.all((expected >= slot.bits[0] - 1e-3) & (expected <= slot.bits[-1] + 1e-3)),
            f"{word}: expected_bits is {expected}, outside {slot.bits[0]} .. {slot.bits[-1]}",
        )


def check_determinism(method: TrainingMethod, case: Case) -> None:
    """Equal starts, draws and moves give equal numbers, to the bit."""
    first, second = (train(method, case, 12, seed=5) for _ in range(2))
    word = _who(method, case, first)
    for kind in ("parameters", "state"):
        for name, value in getattr(first, kind).items():
            require_equal(
                getattr(second, kind)[name],
                value,
                f"{word}: {name!r} differs between two trainings with equal draws; take noise from state['noise']",
            )
    one = OneGroup(method, case.slot)
    once, again = (one.quantize(case.x, first.parameters, first.state, True)[0] for _ in range(2))
    require_equal(again, once, f"{word}: grids gives other numbers the second time")


def check_saving(method: TrainingMethod, case: Case) -> None:
    """Parameters and state go through a .npz file, and training goes on from there with the same numbers."""
    moment = train(method, case, 12)
    word = _who(method, case, moment)
    file = io.BytesIO()
    arrays: dict[str, Any] = {f"p.{name}": value for name, value in moment.parameters.items()}
    arrays.update({f"s.{name}": value for name, value in moment.state.items()})
    np.savez(file, **arrays)
    file.seek(0)
    with np.load(file, allow_pickle=False) as loaded:
        parameters, state = ({n[2:]: loaded[n] for n in loaded.files if n.startswith(k)} for k in ("p.", "s."))
    one = OneGroup(method, case.slot)
    for training in (True, False):
        before, _ = one.quantize(case.x, moment.parameters, moment.state, training)
        after, _ = one.quantize(case.x, parameters, state, training)
        require_equal(after, before, f"{word}: grids(training={training}) gives other numbers after loading")
    same = method.harden(case.slot, parameters, state) == method.harden(case.slot, moment.parameters, moment.state)
    require(same, f"{word}: harden gives another grid after loading")


def check_schedule(method: TrainingMethod, case: Case) -> None:
    """Controls are finite numbers, under the same names from the first step to the last."""
    names = None
    for step in range(STEPS + 1):
        controls = dict(method.controls(Bank.of([case.slot]), Progress(step, STEPS, EPOCH)))
        word = f"method {method.name!r} on the {case.name}, step {step} of {STEPS}"
        require(
            all(np.ndim(v) == 0 and np.isfinite(v) for v in controls.values()),
            f"{word}: controls are finite numbers, and these are {controls}",
        )
        require(
            names in (None, sorted(controls)), f"{word}: controls are {sorted(controls)}, and before they were {names}"
        )
        names = sorted(controls)


def check_not_a_number(method: TrainingMethod, case: Case) -> None:
    """A weight with NaN is refused at the start (a Histogram refuses one by itself)."""
    if case.slot.kind == "activation":
        return
    bad = case.x.copy()
    bad.flat[0] = np.nan
    word = f"method {method.name!r} on the {case.name}"
    try:
        method.start(case.slot, bad)
    except MPQError:
        return
    except Exception as error:
        raise Nonconforming(f"{word}: a NaN makes start raise {type(error).__name__}; raise NonFiniteValues") from error
    raise Nonconforming(f"{word}: start takes a weight with NaN; raise NonFiniteValues, naming the site")


def check_penalty(method: TrainingMethod, case: Case) -> None:
    """Zero without a budget and within it, at any point; beyond it a method that chooses bits is driven back."""
    beyond = []
    for step in range(0, STEPS + 1, 4):
        moment = at(method, case, Moment({}, {}, Progress(step, STEPS, EPOCH)))
        word = f"method {method.name!r}, step {step} of {STEPS}"
        nothing = float(method.penalty(NUMPY, (), moment.state))
        require(nothing == 0, f"{word}: the penalty without a budget is {nothing:g}")
        for cost in (0.4 * LIMIT, LIMIT):
            found = float(method.penalty(NUMPY, spent(np.float64(cost)), moment.state))
            require(found == 0, f"{word}: the penalty within the budget ({cost:g} of {LIMIT:g}) is {found:g}, not zero")
        beyond.append([float(method.penalty(NUMPY, spent(np.float64(c)), moment.state)) for c in (8.0, 16.0)])
    if method.searches_bits:
        require(
            any(0 < near < far for near, far in beyond),
            f"method {method.name!r} chooses bits, and at no step is its penalty positive and growing beyond the "
            f"budget: at 8 and 16 of {LIMIT:g} it is {beyond}",
        )


def spent(cost: Any) -> tuple[Spent, ...]:
    """What penalties are asked about."""
    return (Spent("average_weight_bits", cost, LIMIT, FLOAT_COST),)


def _moments(method: TrainingMethod, case: Case) -> list[Moment]:
    return [begin(method, case), train(method, case, 15), train(method, case, STEPS, seed=1)]


def _who(method: TrainingMethod, case: Case, moment: Moment) -> str:
    return f"method {method.name!r} on the {case.name}, after {moment.progress.step} of {STEPS} steps"

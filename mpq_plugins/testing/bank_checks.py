"""A bank of several groups gives what as many banks of one do, in any order."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from mpq_plugins.array_ops.reference import NUMPY
from mpq_plugins.testing.nonconforming import require_equal
from mpq_plugins.testing.one_group import OneGroup
from mpq_plugins.testing.sample_slots import Case, Moment, train
from mpq_plugins.training.alone import joined, parted
from mpq_plugins.training.bank import Bank
from mpq_plugins.training.method import NOISE, TrainingMethod, on_grids

ORDERS = ((0, 1, 2), (2, 0, 1))


def check_bank(method: TrainingMethod, case: Case) -> None:
    """Grids, bits, and what follows a step and a backward pass, of three groups together and each alone."""
    members = [_member(method, case, index) for index in range(3)]
    alone = [_alone(method, member, moment) for member, moment in members]
    for order in ORDERS:
        together = _together(method, [members[index] for index in order])
        for place, index in enumerate(order):
            for what, value in together[place].items():
                require_equal(
                    value,
                    alone[index][what],
                    f"method {method.name!r} on the {case.name}: {what} of a group that stands at place {place} of "
                    "three is not that of the group alone",
                )


def _member(method: TrainingMethod, case: Case, index: int) -> tuple[Case, Moment]:
    """A group like the case's, of another name and other values; every second one has more channels."""
    axis = (0 if case.slot.axis is None else case.slot.axis) + (case.slot.kind == "activation")
    x = np.concatenate([case.x] * (1 + index % 2), axis) * np.float32(0.5 + index)
    shape = x.shape if case.slot.kind == "weight" else x.shape[1:]
    member = Case(case.name, replace(case.slot, name=f"site {index}", shape=shape), x)
    return member, train(method, member, 11, seed=index)


def _alone(method: TrainingMethod, case: Case, moment: Moment) -> dict[str, Any]:
    one, held = OneGroup(method, case.slot), (moment.parameters, moment.state)
    found: dict[str, Any] = {"the tensor in evaluation": one.quantize(case.x, *held, False)[0]}
    found["the tensor"], updates = one.quantize(case.x, *held, True)
    found |= {f"the update of {name!r}": value for name, value in updates.items()}
    found["expected_bits"] = one.expected_bits(*held)
    moved, updates = one.after_step({k: v * np.float32(1.01) for k, v in held[0].items()}, *held)
    found |= {f"{name!r} after a step": value for name, value in {**moved, **updates}.items()}
    if method.needs_gradient and case.slot.kind == "weight":
        updates = one.after_backward(case.x, case.x[::-1], *held)
        found |= {f"{name!r} after backward": value for name, value in updates.items()}
    return found


def _together(method: TrainingMethod, members: list[tuple[Case, Moment]]) -> list[dict[str, Any]]:
    bank = Bank.of([case.slot for case, _ in members])
    parameters = joined(method, bank, [moment.parameters for _, moment in members])
    state: Any = joined(method, bank, [moment.state for _, moment in members])
    state |= {name: np.asarray(v, np.float32) for name, v in method.constants(bank).items()}
    flat = [bank.layout.flat(NUMPY, index, case.x) for index, (case, _) in enumerate(members) if bank.kind == "weight"]
    x = np.concatenate(flat) if method.follows_weights(bank) else None
    grids, updates = method.grids(NUMPY, bank, x, parameters, state, True)
    evaluation, _ = method.grids(NUMPY, bank, None, parameters, state, False)
    bits = np.broadcast_to(method.expected_bits(NUMPY, bank, parameters, state), len(members))
    pushed = {k: v * np.float32(1.01) for k, v in parameters.items()}
    moved, after_step = method.after_step(NUMPY, bank, pushed, parameters, state)
    after_backward: Any = {}
    if method.needs_gradient and bank.kind == "weight":
        upstream = np.concatenate([bank.layout.flat(NUMPY, i, case.x[::-1]) for i, (case, _) in enumerate(members)])
        after_backward = method.after_backward(NUMPY, bank, np.concatenate(flat), upstream, parameters, state)
    found = []
    for index, (case, _) in enumerate(members):
        own: dict[str, Any] = {
            "the tensor in evaluation": on_grids(NUMPY, method, bank, index, evaluation, case.x),
            "the tensor": on_grids(NUMPY, method, bank, index, grids, case.x),
            "expected_bits": bits[index],
        }
        for values, word in ((updates, "the update of {!r}"), ({**moved, **after_step}, "{!r} after a step")):
            own |= {word.format(name): v for name, v in parted(method, bank, values, index).items()}
        own |= {f"{name!r} after backward": v for name, v in parted(method, bank, after_backward, index).items()}
        found.append({what: _shaped(case, value) for what, value in own.items() if NOISE not in what})
    return found


def _shaped(case: Case, value: Any) -> Any:
    """Rows of elements in the tensor's shape."""
    value = np.asarray(value)
    if case.slot.kind != "weight" or value.ndim != 1 or value.size != case.slot.elements:
        return value
    axis, shape = case.slot.axis or 0, case.slot.shape
    return np.moveaxis(value.reshape(shape[axis], *shape[:axis], *shape[axis + 1 :]), 0, axis)

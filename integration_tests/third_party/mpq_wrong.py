"""A plug-in in which everything loads and nearly everything is wrong, each in a way of its own."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from mpq_plugins import CostRow, CostTerm, Target, hookimpl
from mpq_plugins.errors import NonFiniteValues
from mpq_plugins.papers.msqe import Msqe
from mpq_plugins.training.grids import Grids
from mpq_plugins.training.method import Start, TrainingMethod


@dataclass(frozen=True)
class Right(TrainingMethod):
    """Nothing is wrong with this one: the power of two above the largest magnitude, at fixed bits."""

    name: str = "right"
    summary: str = "nothing is wrong with it"

    def start(self, slot, observed):
        magnitude = np.abs(observed).max() if slot.kind == "weight" else max(abs(observed.min), abs(observed.max))
        if not np.isfinite(magnitude):
            raise NonFiniteValues(f"site {slot.name!r} holds NaN or infinite values")
        exponent = np.ceil(np.log2(max(magnitude, 1e-12))) - (slot.bits[-1] - slot.signed)
        return Start(state={"exponent": np.full(slot.step_shape, exponent)})

    def extents(self, bank):
        return {"exponent": "channel"}

    def grids(self, ops, bank, x, parameters, state, training):
        return [Grids(ops.exp2(state["exponent"]), bank.low[:, -1], bank.high[:, -1], code_extent="group")], {}

    def harden(self, slot, parameters, state, bits=None):
        return slot.grid(slot.bits[-1], np.exp2(np.asarray(state["exponent"], np.float64)))


class OffGrid(Right):
    """Evaluates with twice the step of the grid that it returns."""

    def harden(self, slot, parameters, state, bits=None):
        return slot.grid(slot.bits[-1], 2 * np.exp2(np.asarray(state["exponent"], np.float64)))


class AnyStep(Right):
    """Returns steps that are no powers of two where only those are offered."""

    def grids(self, ops, bank, x, parameters, state, training):
        return super().grids(ops, bank, x, parameters, {"exponent": state["exponent"] + 0.25}, training)

    def harden(self, slot, parameters, state, bits=None):
        return super().harden(slot, parameters, {"exponent": state["exponent"] + np.float32(0.25)})


class Penal(Right):
    """Punishes even what keeps the budget."""

    def penalty(self, ops, spent, state):
        return sum((0.1 * resource.cost for resource in spent), 0.0)


class Dice(Right):
    """Draws at random by itself."""

    def grids(self, ops, bank, x, parameters, state, training):
        noise = 0.1 * (ops.uniform_like(state["exponent"]) - 0.5) if training else 0.0
        return super().grids(ops, bank, x, parameters, {"exponent": state["exponent"] + noise}, training)


class Growing(Right):
    """Keeps a list of what it saw in a state whose shape grows."""

    def grids(self, ops, bank, x, parameters, state, training):
        grids, _ = super().grids(ops, bank, x, parameters, state, training)
        return grids, {"exponent": ops.stack([state["exponent"], state["exponent"]])} if training else {}


class Learns(Right):
    """Nothing is wrong with this one either: the exponent is learned, through a rounding that lets gradients pass."""

    def start(self, slot, observed):
        return Start(parameters=super().start(slot, observed).state)

    def grids(self, ops, bank, x, parameters, state, training):
        return super().grids(
            ops, bank, x, parameters, {"exponent": self.rounded(ops, parameters["exponent"])}, training
        )

    def rounded(self, ops, exponent):
        return ops.ceil(exponent)

    def harden(self, slot, parameters, state, bits=None):
        return super().harden(slot, parameters, {"exponent": np.ceil(parameters["exponent"])}, bits)


class Deaf(Learns):
    """Rounds so that no gradient comes through."""

    def rounded(self, ops, exponent):
        return -ops.floor(-exponent)


class Contrary(Learns):
    """Learns in the wrong direction."""

    def rounded(self, ops, exponent):
        return ops.ceil(2 * ops.stop_gradient(exponent) - exponent)


class Swallowing(Right):
    """Starts from anything."""

    def start(self, slot, observed):
        return super().start(slot, np.nan_to_num(observed) if slot.kind == "weight" else observed)


class Spendthrift(Msqe):
    """Searches without a look at the budget, and says that it kept it."""

    def search(self, problem):
        most = {name: kinds[-1:] for name, kinds in problem.candidates.items()}
        found = super().search(replace(problem, candidates=most, budget=None))
        return replace(found, method=self.name, budget=problem.budget.limits() if problem.budget else {})


class Discount:
    """Costs less the more bits there are."""

    unit = "pJ"

    def rows(self, inventory):
        return [CostRow("all", tuple(CostTerm((w.name,), lambda bits: 16.0 - bits) for w in inventory.weights))]


EVERY = {"activation": {"bits": [8]}, "weight": {"bits": [2, 4, 8]}}
TARGETS = {
    "wrong-grids": {"ops": {"linear": EVERY}},
    "wrong-container": {"ops": {"*": {**EVERY, "weight": {"bits": [4, 8], "container_bits": 4}}}},
    "wrong-accumulator": {"ops": {"*": EVERY}, "accumulator_bits": 12},
    "wrong-sharing": {"ops": {"*": EVERY, "max_pool": {"activation": {"bits": [4]}, "keeps_input_grid": True}}},
    "wrong-weight": {"ops": {"*": {"activation": {"bits": [8]}}, "conv2d": {"rounding": "half_up"}}},
    "wrong-cost": {"ops": {"*": EVERY}, "cost_models": ["discount"]},
    "unknown-cost": {"ops": {"*": EVERY}, "cost_models": ["no_such"]},
}


@hookimpl
def mpq_register_targets(register):
    for name, fields in TARGETS.items():
        register(Target(name=name, **fields))


@hookimpl
def mpq_register_cost_models(register):
    register("discount", Discount())


class Halfway:
    """An adapter that gives the kit nothing to hold on to."""

    name = "halfway"
    summary = "gives the kit nothing"
    requirement = "mpq-wrong"

    def available(self):
        return True

    def load(self):
        raise NotImplementedError


@hookimpl
def mpq_register_frameworks(register):
    register(Halfway())


@hookimpl
def mpq_register_methods(register):
    register(Right())
    for method in (OffGrid, AnyStep, Penal, Dice, Growing, Swallowing):
        register(method(name=method.__name__.lower(), summary="wrong"))
    register(Spendthrift(name="spendthrift"))

"""A method gives the same numbers and the same gradients in NumPy and in every framework."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.array_ops.protocol import Array, Ops
from mpq_plugins.array_ops.reference import NUMPY
from mpq_plugins.testing.framework_arrays import Arrays, Numbers
from mpq_plugins.testing.method_checks import FLOAT_COST, LIMIT, spent
from mpq_plugins.testing.nonconforming import Nonconforming, require, require_close, require_equal
from mpq_plugins.testing.one_group import OneGroup
from mpq_plugins.testing.sample_slots import EPOCH, STEPS, Case, Moment, at, begin, train
from mpq_plugins.training.method import Progress, TrainingMethod

Frameworks = Mapping[str, Any]
"""By name: what adapters give the kit (framework_arrays.FrameworkArrays)."""
WIDTH = 1e-4
"""Half of the interval of a central difference, as a share of the cost."""


def check_agreement(method: TrainingMethod, case: Case, frameworks: Frameworks) -> None:
    """Forward passes are those of NumPy, gradients those of the other frameworks, at the start and on the way."""
    for moment in (begin(method, case), train(method, case, 9, seed=3)):
        word = f"method {method.name!r} on the {case.name}, after {moment.progress.step} of {STEPS} steps"
        wanted = _results(method, case, moment, NUMPY, case.x, moment.parameters, moment.state)[1]
        gradients: dict[str, Numbers] = {}
        for name, framework in frameworks.items():
            try:
                gradients[name], found = _in_framework(method, case, moment, framework)
            except Exception as error:
                raise Nonconforming(
                    f"{word}: it runs in NumPy and not in {name}: {type(error).__name__}: {error}; use ops and "
                    "operators alone, and no function of NumPy on arrays"
                ) from error
            for what, value in found.items():
                require_close(value, wanted[what], f"{word}: {what} in {name} is not that of NumPy")
            require_equal(
                found["evaluation"],
                wanted["evaluation"],
                f"{word}: evaluation in {name} is not on the grid that NumPy gives",
            )
        _compare(gradients, word)


def check_penalty_gradients(method: TrainingMethod, case: Case, frameworks: Frameworks) -> None:
    """Within the budget the penalty has no gradient; beyond, the one of central differences in float64."""
    for step in (0, STEPS // 4, STEPS // 2, STEPS):
        moment = at(method, case, Moment({}, {}, Progress(step, STEPS, EPOCH)))
        for name, framework in frameworks.items():
            word = f"method {method.name!r}, step {step} of {STEPS}, in {name}"
            for cost in (0.4 * LIMIT, 0.9 * LIMIT, 5.0, 11.0):
                slope, results = _penalty(method, moment, framework, cost)
                if cost < LIMIT:
                    require(
                        slope == 0 and results == 0,
                        f"{word}: within the budget ({cost:g} of {LIMIT:g}) the penalty is {results:g} and its "
                        f"gradient {slope:g}; both must be zero",
                    )
                    continue
                above, below = (
                    float(method.penalty(NUMPY, spent(np.float64(cost * (1 + sign * WIDTH))), moment.state))
                    for sign in (1, -1)
                )
                require_close(
                    slope,
                    (above - below) / (2 * WIDTH * cost),
                    f"{word}: the gradient of the penalty at a cost of {cost:g} (limit {LIMIT:g}, in float "
                    f"{FLOAT_COST:g}) is not its central difference",
                    relative=5e-3,
                    absolute=1e-4,
                )


def _in_framework(method: TrainingMethod, case: Case, moment: Moment, framework: Any) -> tuple[Numbers, Numbers]:
    state = {name: framework.tensor(value) for name, value in moment.state.items()}

    def function(given: Arrays) -> tuple[Array, Arrays]:
        parameters = {name: given[name] for name in moment.parameters}
        return _results(method, case, moment, framework.OPS, given[_X], parameters, state)

    gradients, results = framework.gradients(function, {_X: case.x, **moment.parameters})
    return gradients, results


_X = "the tensor"


def _results(
    method: TrainingMethod, case: Case, moment: Moment, ops: Ops, x: Array, parameters: Arrays, state: Arrays
) -> tuple[Array, dict[str, Array]]:
    """A scalar of all that training differentiates, and its parts."""
    one = OneGroup(method, case.slot, ops, like=x)
    y, updates = one.quantize(x, parameters, state, True)
    evaluation, _ = one.quantize(x, parameters, state, False)
    bits = one.expected_bits(parameters, state)
    found = {"quantize": y, "evaluation": evaluation, "expected_bits": bits}
    found.update({f"the update of {name!r}": value for name, value in updates.items()})
    total = ops.sum(y * ops.array(_upstream(case), y)) + ops.sum(bits * 1.0)
    loss = one.regularization(x, parameters, state)
    if loss is not None:
        found["regularization"] = loss
        total = total + loss
    return total, found


def _upstream(case: Case) -> NDArray[np.float32]:
    return np.random.default_rng(13).standard_normal(case.x.shape).astype(np.float32)


def _compare(gradients: Mapping[str, Numbers], word: str) -> None:
    names = list(gradients)
    for name in names:
        for parameter, value in gradients[name].items():
            require(np.all(np.isfinite(value)), f"{word}: the gradient of {parameter!r} in {name} is NaN or infinite")
            require_close(
                value,
                gradients[names[0]][parameter],
                f"{word}: the gradient of {parameter!r} in {name} is not that of {names[0]}",
                relative=1e-3,
                absolute=3e-5,
            )


def _penalty(method: TrainingMethod, moment: Moment, framework: Any, cost: float) -> tuple[float, float]:
    controls = {name: framework.tensor(value) for name, value in moment.state.items()}

    def function(given: Arrays) -> tuple[Array, Arrays]:
        penalty = method.penalty(framework.OPS, spent(given["cost"]), controls)
        return penalty, {"penalty": penalty}

    gradients, results = framework.gradients(function, {"cost": np.asarray(cost, np.float32)})
    return float(gradients["cost"]), float(results["penalty"])

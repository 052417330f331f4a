"""A method learns: gradients reach each of its parameters, and following them brings a clipped tensor nearer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.array_ops.protocol import Array
from mpq_plugins.array_ops.reference import NUMPY
from mpq_plugins.testing.framework_arrays import Arrays, Numbers
from mpq_plugins.testing.nonconforming import require
from mpq_plugins.testing.one_group import OneGroup
from mpq_plugins.testing.sample_slots import Case, Moment, begin, cases, train
from mpq_plugins.training.method import TrainingMethod

BEYOND = 6.0
"""How many times larger the tensor becomes than what the method has started from, so that its grid clips."""
MOVES = (0.125, 0.25, 0.5, 1.0, 2.0)
"""How far parameters are moved against the gradient, at the most, one after the other."""


def check_gradients_reach(method: TrainingMethod, frameworks: Mapping[str, Any]) -> None:
    """Each parameter has a gradient in some case: of the quantized tensor, the expected bits, or the method's loss."""
    for name, framework in frameworks.items():
        reached: dict[str, bool] = {}
        for case in cases(method):
            for moment in (begin(method, case), train(method, case, 9, seed=3)):
                found = _gradients(method, case, moment, framework, case.x, everything=True)
                for parameter in moment.parameters:
                    reached[parameter] = reached.get(parameter, False) or bool(np.any(found[parameter]))
        unreached = [parameter for parameter, seen in reached.items() if not seen]
        require(
            not unreached,
            f"method {method.name!r} in {name}: no gradient reaches {', '.join(unreached)} on any tensor; what a "
            "parameter passes through (floor, sign, stop_gradient, a comparison) stops it, or nothing is made of it",
        )


def check_gradients_lead(method: TrainingMethod, case: Case, frameworks: Mapping[str, Any]) -> None:
    """On a tensor far beyond the grid, a move against the gradient of the squared error makes it smaller.

    Asked where the error has a gradient and a move changes it: a choice between few grids may not feel a small one.
    """
    if not np.any(case.x):
        return
    x = (BEYOND * case.x).astype(np.float32)
    for name, framework in frameworks.items():
        moment = begin(method, case)
        found = _gradients(method, case, moment, framework, x, everything=False)
        largest = max((float(np.abs(found[n]).max(initial=0.0)) for n in moment.parameters), default=0.0)
        if not largest:
            continue
        before = _error(method, case, moment.parameters, moment, x)
        for move in MOVES:
            moved = {n: np.asarray(v - move * found[n] / largest, np.float32) for n, v in moment.parameters.items()}
            after = _error(method, case, moved, moment, x)
            if abs(after - before) > 1e-6 * before:
                require(
                    after < before,
                    f"method {method.name!r} on the {case.name} in {name}: on a tensor {BEYOND:g} times as large as "
                    f"the grid, moving {', '.join(moved)} by {move:g} against the gradient makes the squared error "
                    f"{after:.6g}, from {before:.6g}; the gradient has the wrong sign",
                )
                break


def _gradients(
    method: TrainingMethod, case: Case, moment: Moment, framework: Any, x: NDArray[np.float32], everything: bool
) -> Numbers:
    """Of the squared error alone, or of all that training differentiates, by parameter."""
    state = {name: framework.tensor(value) for name, value in moment.state.items()}
    tensor = framework.tensor(x)

    def function(given: Arrays) -> tuple[Array, Arrays]:
        one = OneGroup(method, case.slot, framework.OPS, like=tensor)
        y, _ = one.quantize(tensor, given, state, True)
        total = framework.OPS.sum((y - tensor) ** 2)
        if everything:
            total = total + framework.OPS.sum(one.expected_bits(given, state) * 1.0)
            loss = one.regularization(tensor, given, state)
            total = total if loss is None else total + loss
        return total, {}

    gradients: Numbers = framework.gradients(function, dict(moment.parameters))[0]
    return gradients


def _error(
    method: TrainingMethod, case: Case, parameters: Mapping[str, Any], moment: Moment, x: NDArray[np.float32]
) -> float:
    y, _ = OneGroup(method, case.slot, NUMPY).quantize(x, parameters, moment.state, True)
    return float(np.sum((np.asarray(y, np.float64) - x) ** 2))

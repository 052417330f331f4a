"""What a law of a runtime's own must hold to: a function over a runner's arrays, tried where it is registered."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from mpq_plugins.array_ops.protocol import Array
from mpq_plugins.graph.arithmetic import rounded
from mpq_plugins.graph.numpy_runner import NUMPY_RUNNER
from mpq_plugins.graph.runner import Runner
from mpq_plugins.graph.runtimes.runtime import Law, Runtime, name_of_law
from mpq_plugins.grid import Grid

PROBES: Array = np.concatenate(
    [np.arange(-1040, 1041) / 8, np.array([-70000.5, 2.0**20 + 0.5, 0.49999997, -0.49999997])]
)
"""Real values in units of the output's step: whole numbers, ties and what lies between."""
CODES: Array = np.arange(-128.0, 128.0)
GRIDS = Grid.power_of_two(8, 0), Grid.power_of_two(8, 2), Grid.power_of_two(8, 3)
"""Of both operands, and of what comes out."""


def laws_of(table: Runtime) -> Iterator[tuple[str, Law]]:
    """What each function of a runtime's own is, and the function."""
    rules = [*table.rounding.values(), table.broadcast_rounding]
    yield from (("rounding", law) for law in dict.fromkeys(rules) if callable(law))
    yield from ((what, law) for what, law in (("sum", table.sums), ("product", table.products)) if callable(law))


def values(what: str, law: Law, run: Runner, tensor: Callable[[Array], Any] = np.asarray) -> tuple[Any, Array]:
    """What a law gives at the probes, an array of the runner's, and the real values, in units of the output's step.

    tensor: makes one of its arrays.
    """
    if what == "rounding":
        return law(run, tensor(PROBES)), PROBES
    a, b = tensor(CODES), tensor(CODES[::-1].copy())
    first, second, out = (float(grid.steps[0]) for grid in GRIDS)
    if what == "sum":
        real = (CODES * first + CODES[::-1] * second) / out
        return law(run, a, b, GRIDS[:2], GRIDS[2], "half_even"), real
    scale = np.asarray(first * second / out)
    return law(run, a * b, scale, "half_even"), CODES * CODES[::-1] * float(scale)


def wrong_laws(table: Runtime) -> str | None:
    """What is wrong with a runtime's own laws; None where nothing is."""
    for what, law in laws_of(table):
        wrong = _wrong(what, law)
        if wrong:
            return f"its {what} {name_of_law(law)} {wrong}"
    return None


def _wrong(what: str, law: Law) -> str | None:
    try:
        given, real = values(what, law, NUMPY_RUNNER)
        found = np.asarray(given)
    except Exception as error:
        return f"fails in NumPy: {type(error).__name__}: {error}"
    if found.shape != real.shape or found.dtype.kind != "f":
        return f"gives an array of shape {found.shape} and type {found.dtype} for {real.size} numbers"
    if not np.array_equal(found, np.rint(found)):
        return f"gives {found[found != np.rint(found)][0]:g}, which is no whole number"
    off = np.abs(found - real)
    if np.any(off >= 1):
        return f"gives {found[off.argmax()]:g} for {real[off.argmax()]:g}, a code or more away"
    if not np.array_equal(found, np.asarray(values(what, law, NUMPY_RUNNER)[0])):
        return "gives other numbers when it is called again"
    if what == "rounding":
        alone = [float(np.asarray(rounded(NUMPY_RUNNER, real[at : at + 1], law))[0]) for at in range(0, real.size, 97)]
        if not np.array_equal(alone, found[::97]):
            return "gives other numbers for one value than for many"
    return None

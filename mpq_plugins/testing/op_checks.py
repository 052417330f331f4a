"""What an op must hold to: a function of one element is one, of numbers alone, and its spellings compute it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.graph.node import Node
from mpq_plugins.graph.numpy_runner import NUMPY_RUNNER
from mpq_plugins.graph.op import Op
from mpq_plugins.graph.registered import check_op
from mpq_plugins.grid import Grid
from mpq_plugins.testing.nonconforming import Nonconforming, require, require_close

BITS, EXPONENTS = range(2, 9), (-4, 0, 3)
WIDTH = 1e-5
"""Half of the interval of a central difference."""
ULPS = 1e-13, 1e-15
"""How far NumPy's own functions are apart, relative and absolute, where it takes one number or several at a time."""


def is_checked(op: Op) -> bool:
    """Whether the kit can compute an op by itself: a function of one element, without attributes."""
    return op.table and not op.attrs


def check_record(op: Op) -> None:
    """The record does not contradict itself or another."""
    wrong = check_op(op)
    require(wrong is None, f"op {op.word!r}: {wrong}")


def check_values(op: Op) -> None:
    """At every code of grids of 2 to 8 bits the value is a number, the same alone as among others."""
    for grid, x in _grids():
        y = _value(op, x)
        word = f"op {op.word!r} on {grid}"
        require(np.all(np.isfinite(y)), f"{word}: its value at {x[~np.isfinite(y)][:1]} is not finite")
        alone = np.concatenate([_value(op, x[at : at + 1]) for at in range(0, x.size, 16)])
        require_close(alone, y[::16], f"{word}: its value depends on the other numbers", *ULPS)


def check_signs(op: Op) -> None:
    """Where the record says that nothing below zero comes out, nothing does."""
    for below in (True, False):
        if not op.negative(Node(op.word, op.word, ("x",)), [below]):
            for grid, x in _grids():
                x = x if below else x[x >= 0]
                y = _value(op, x)
                require(
                    y.min(initial=0.0) >= 0,
                    f"op {op.word!r} on {grid}: it says that nothing below zero comes out, and its value at "
                    f"{x[y.argmin()] if x.size else 0:g} is {y.min(initial=0.0):g}",
                )


def check_gradients(op: Op, frameworks: Mapping[str, Any]) -> None:
    """Value and gradient in every framework are those of NumPy, the gradient but for where the function bends."""
    x = np.linspace(-3.0, 3.0, 61) + 0.0137
    slopes = [(_value(op, x + s * WIDTH) - _value(op, x)) / (s * WIDTH) for s in (1, -1)]
    smooth = np.abs(slopes[0] - slopes[1]) < 1e-3
    for name, framework in frameworks.items():
        word = f"op {op.word!r} in {name}"
        runner = framework.RUNNER

        def function(given: Mapping[str, Any], runner: Any = runner) -> tuple[Any, dict[str, Any]]:
            y = op.value(runner, Node(op.word, op.word, ("x",)), given["x"])
            return runner.sum(y), {"value": y}

        try:
            gradients, results = framework.gradients(function, {"x": x.astype(np.float32)})
        except Exception as error:
            raise Nonconforming(
                f"{word}: it runs in NumPy and not here: {type(error).__name__}: {error}; use the runner's functions "
                "and operators alone"
            ) from error
        require_close(results["value"], _value(op, x), f"{word}: its value is not that of NumPy")
        require_close(
            gradients["x"][smooth], slopes[0][smooth], f"{word}: its gradient is not its central difference", 1e-2, 1e-3
        )


def check_spellings(op: Op, frameworks: Mapping[str, Any]) -> None:
    """What the spellings stand for, where a framework can tell, computes the op but for float32's rounding.

    Where a framework has no finite number, outside of a function's domain, the op may have any.
    """
    x = np.linspace(-6.0, 6.0, 97, dtype=np.float32)
    for name, framework in frameworks.items():
        for spelling in op.spellings.get(framework.SPELLINGS, ()):
            found = framework.spelled(spelling)
            if found is None:
                continue
            word = f"op {op.word!r}: {spelling}, as {name} has it,"
            require(callable(found), f"{word} is not there; is the package that has it installed?")
            try:
                values = np.asarray(found(x), np.float64)
            except Exception as error:
                raise Nonconforming(f"{word} does not take one tensor: {type(error).__name__}: {error}") from error
            wanted, has = _value(op, x.astype(np.float64)), np.isfinite(values)
            require(has.any() and values.shape == wanted.shape, f"{word} gives no number for each")
            require_close(values[has], wanted[has], f"{word} computes something else")


def _grids() -> Iterator[tuple[Grid, NDArray[np.float64]]]:
    for bits in BITS:
        for exponent in EXPONENTS:
            grid = Grid.power_of_two(bits, exponent)
            yield grid, np.asarray(np.arange(grid.low, grid.high + 1) * grid.step, np.float64)


def _value(op: Op, x: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(all="ignore"):  # what is no number is found and said
        return np.asarray(op.value(NUMPY_RUNNER, Node(op.word, op.word, ("x",)), x), np.float64)

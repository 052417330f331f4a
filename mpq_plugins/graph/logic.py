"""Comparisons, choices and whole parts of numbers: functions of elements that readers only describe.

Truth values are zeros and ones here, as they are once a model multiplies with them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mpq_plugins.graph.node import UNKNOWN, Node, Operand

COMPARISONS: Mapping[str, Callable[[Any, Any], Any]] = {
    "equal": lambda a, b: a == b,
    "greater": lambda a, b: a > b,
    "greater_equal": lambda a, b: a >= b,
    "less": lambda a, b: a < b,
    "less_equal": lambda a, b: a <= b,
    "not_equal": lambda a, b: a != b,
}
WHOLE = "it gives whole numbers or truth values (indices, a mask), which lie on no grid"
"""Why moves and arithmetic of such tensors stay float."""
CHOOSE = "choose"
"""condition ? input : other."""
OF_WHOLE = ("add", "div", "mul", "neg", "sub")
"""Functions that have nodes of their own, but for those of whole numbers, and what a quotient is rounded to."""
NUMBERS = ("condition", "input", "other")
"""The arguments that may be activations or numbers, in their order."""


def _compared(word: str) -> Callable[..., Any]:
    return lambda run, a, b: run.cast(COMPARISONS[word](a, b), a)


def _choose(run: Any, condition: Any, a: Any, b: Any) -> Any:
    return run.where(condition != 0, a, b)


def _truncated(run: Any, x: Any) -> Any:
    return run.sign(x) * run.floor(run.abs(x))


def _cast(run: Any, x: Any, to: str = "float") -> Any:
    if to == "bool":
        return run.cast(x != 0, x)
    return _truncated(run, x) if to == "int" else x


def _quotient(run: Any, a: Any, b: Any, rounding_mode: str | None = None) -> Any:
    parts = {"floor": run.floor, "trunc": lambda x: _truncated(run, x)}
    return parts[rounding_mode](a / b) if rounding_mode else a / b


def _heaviside(run: Any, x: Any, at_zero: Any) -> Any:
    return run.where(x == 0, at_zero, run.cast(x > 0, x))


FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    **{word: _compared(word) for word in COMPARISONS},
    "add": lambda run, a, b: a + b,
    "cast": _cast,
    CHOOSE: _choose,
    "div": _quotient,
    "fmod": lambda run, a, b: a - b * _truncated(run, a / b),
    "heaviside": _heaviside,
    "logical_and": lambda run, a, b: a * b,
    "logical_not": lambda run, a: 1.0 - a,
    "logical_or": lambda run, a, b: run.maximum(a, b),
    "logical_xor": lambda run, a, b: run.abs(a - b),
    "mul": lambda run, a, b: a * b,
    "neg": lambda run, a: -a,
    "remainder": lambda run, a, b: a - b * run.floor(a / b),
    "sub": lambda run, a, b: a - b,
}
"""By the word that readers have: the value, of a runner, the numbers and what else is given by name."""


def is_logic(node: Node) -> bool:
    """Whether a node that no record describes is one of these functions, of activations and single numbers."""
    given = node.attrs.get("arguments", {})
    if node.op != UNKNOWN or node.attrs.get("function") not in FUNCTIONS or not operands(node):
        return False
    if node.attrs["function"] in OF_WHOLE and node.attrs.get("reason") != WHOLE and not settings(node):
        return False  # it is refused for its constant
    plain = all(isinstance(value, Operand) or _is_number(value) for value in operands(node).values())
    return plain and all(isinstance(given[name], str) for name in given if name not in operands(node))


def _is_number(value: Any) -> bool:
    values = np.asarray(value, np.float64)
    return values.size > 0 and bool(np.isfinite(values.flat[0]) and np.all(values == values.flat[0]))


def reads(node: Node) -> tuple[str, ...]:
    """The inputs that the value of a node depends on; constants among those of a function are in its arguments."""
    if not is_logic(node):
        return node.inputs
    return tuple(node.inputs[value.index] for value in operands(node).values() if isinstance(value, Operand))


def operands(node: Node) -> dict[str, Any]:
    """The numbers of such a function, by name in their order: Operands, and constants."""
    given = node.attrs.get("arguments", {})
    return {name: given[name] for name in NUMBERS if name in given}


def settings(node: Node) -> dict[str, Any]:
    """What else it is given."""
    return {name: value for name, value in node.attrs.get("arguments", {}).items() if name not in NUMBERS}

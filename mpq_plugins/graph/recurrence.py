"""One step of a recurrent layer over its gates: what readers unroll, over the tensors or symbols of any framework."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

MOST_STEPS = 64
"""Longer series are not unrolled: every step is some twenty ops."""
READ_APART = MOST_STEPS
"""Of longer series, where there are floats, the products with what is read are apart from what goes on step by step."""
Function = Callable[[Any], Any]


def lstm_step(gates: Sequence[Any], cell: Any, gate: Function, activation: Function) -> tuple[Any, Any]:
    """The output and the next cell.

    gates: what enters, what is kept, what is new, what goes out, before their functions. cell: of the step before; None
    for zeros.
    """
    entering, kept, new, out = gates
    found = gate(entering) * activation(new)
    if cell is not None:
        found = gate(kept) * cell + found
    return gate(out) * activation(found), found


def simple_step(read: Any, again: Any, activation: Function) -> Any:
    """The output of a cell without gates, from what it makes of its input and of the output before, None for zeros.

    >>> simple_step(-3.0, None, abs), simple_step(-3.0, 1.0, abs)
    (3.0, 2.0)
    """
    return activation(read if again is None else read + again)


def gru_output(new: Any, update: Any, before: Any) -> Any:
    """A GRU's output between the candidate and the output of the step before, None for zeros, by the update gate.

    >>> gru_output(1.0, 0.25, 3.0), gru_output(1.0, 0.25, None)
    (1.5, 0.75)
    """
    return new - update * new if before is None else new + update * (before - new)

"""Some elements along each axis, backwards too (attrs: starts, stops, steps, as Python's slices have them).

A stop of None is the end, or the front where the step is below zero.
"""

from collections.abc import Mapping
from typing import Any

from mpq_plugins.graph.integer_steps import IntegerSteps
from mpq_plugins.graph.node import Node
from mpq_plugins.graph.op import Op


def slices(attrs: Mapping[str, Any]) -> tuple[slice, ...]:
    """One for every axis, batch included."""
    return tuple(map(slice, attrs["starts"], attrs["stops"], attrs["steps"]))


def _move(steps: IntegerSteps, node: Node) -> None:
    steps.move(node, "slice", before=tuple(-start for start in node.attrs["starts"]), step=node.attrs["steps"])


OPS = (
    Op(
        "slice",
        lambda run, node, x: run.slice(x, slices(node.attrs)),
        grid="input",
        target="reshape",
        integers=_move,
        axes={"starts": "each", "stops": "each", "steps": "each"},
        spellings={"litert": ("STRIDED_SLICE",)},
    ),
)

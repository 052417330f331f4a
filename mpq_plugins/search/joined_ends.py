"""Outputs that join values of very different sizes on one grid, such as a detector's boxes and scores."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import numpy as np

from mpq_plugins.errors import AccuracyWarning
from mpq_plugins.graph.float_parts import before_weights
from mpq_plugins.graph.node import Graph
from mpq_plugins.graph.runner import Runner, Tensor

SMALL = 2.0**-6
"""Of the largest value that a grid holds: 8 bits with a sign have two codes for what is no larger."""


class JoinedEnds:
    """The largest magnitude of every part of the concats that no weight follows.

    Converted exactly, such an output says nothing of a part that is small beside the others, and no layer is wrong.
    """

    def __init__(self, graph: Graph, grid_of: Mapping[str, str]) -> None:
        before = before_weights(graph, ())
        joins = (node for node in graph.nodes if node.op == "concat" and node.name not in before)
        self._largest = {node.name: dict.fromkeys(node.inputs, 0.0) for node in joins}
        self._sites = {name: grid_of.get(name, name) for parts in self._largest.values() for name in parts}

    def note(self, values: Mapping[str, Tensor], runner: Runner) -> None:
        """Look at the values of all nodes for one chunk."""
        for parts in self._largest.values():
            for name, largest in parts.items():
                array = runner.numpy(values[name])
                parts[name] = max(largest, float(np.max(array, initial=0)), -float(np.min(array, initial=0)))

    def warn(self) -> None:
        """An AccuracyWarning for every concat with a part that its grid has next to no codes for."""
        for join, parts in self._largest.items():
            widest = max(parts, key=lambda name: parts[name], default="")
            lost = [name for name, largest in parts.items() if 0 < largest < SMALL * parts[widest]]
            if lost:
                other = f"{self._sites[widest]!r} (up to {parts[widest]:.3g})"
                named = ", ".join(f"{self._sites[name]!r} (up to {parts[name]:.3g})" for name in lost)
                warnings.warn(
                    f"{join!r} puts {named} on one grid with {other}, which leaves them next to no codes: give the "
                    "parts back one by one, or, where the target has float arithmetic, keep the join in float "
                    f"(keep_float=[{join!r}])",
                    AccuracyWarning,
                    stacklevel=2,
                )

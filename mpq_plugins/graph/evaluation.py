"""Running a graph, node after node: in float, or with whatever a caller makes of each node."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mpq_plugins.graph.node import ARGUMENT, BATCH_NORM, CONSTANT, FLOAT, Graph, Node
from mpq_plugins.graph.ops import op_of
from mpq_plugins.graph.runner import Runner, Tensor

Step = Callable[[Node, Sequence[Any]], Any]
"""What a node's output is, from those of its inputs."""


def run_nodes(
    graph: Graph, arguments: Sequence[Any], step: Step, wanted: Collection[str] | None = None
) -> dict[str, Any]:
    """The outputs of the wanted nodes (of all, if None), each computed by ``step``; others are dropped once read.

    Nothing is computed that no wanted node stands on. arguments: of the model, in order.
    """
    given = dict(zip((node.name for node in graph.arguments), arguments, strict=True))
    kept = None if wanted is None else set(wanted)
    nodes = graph.nodes if kept is None else _standing_under(graph, kept)
    left = Counter(name for node in nodes for name in node.inputs)
    values: dict[str, Any] = {}
    for node in nodes:
        if node.op == ARGUMENT:
            values[node.name] = given[node.name]
        else:
            values[node.name] = step(node, [values[name] for name in node.inputs])
        for name in node.inputs:
            left[name] -= 1
            if kept is not None and not left[name] and name not in kept:
                values.pop(name, None)
    return values if kept is None else {name: values[name] for name in kept}


def _standing_under(graph: Graph, wanted: Collection[str]) -> list[Node]:
    """The wanted nodes, and all that they read, in the order of the graph."""
    needed = set(wanted)
    for node in reversed(graph.nodes):
        if node.name in needed:
            needed.update(node.inputs)
    return [node for node in graph.nodes if node.name in needed]


@dataclass(frozen=True)
class FloatModel:
    """A graph computed in float, as the framework's own layers would; weights are kept as tensors between calls."""

    graph: Graph
    runner: Runner
    _tensors: dict[str, tuple[Any, Any]] = field(default_factory=dict, repr=False)

    def outputs(self, arguments: Sequence[Tensor]) -> list[Tensor]:
        """What the model returns."""
        found = run_nodes(self.graph, arguments, self.step, self.graph.outputs)
        return [found[name] for name in self.graph.outputs]

    def step(self, node: Node, inputs: Sequence[Tensor]) -> Tensor:
        """The output of one node."""
        return self.clamped(node, self.unclamped(node, inputs))

    def unclamped(self, node: Node, inputs: Sequence[Tensor]) -> Tensor:
        """The output of one node before its own clamp."""
        run = self.runner
        if node.op == CONSTANT:
            return run.tensor(node.attrs["value"])
        if node.op == FLOAT:
            was = node.attrs.get("was")
            if was is None or node.name in run.floats:
                return run.float_part(node.name, inputs)
            return self.step(was, inputs)
        if node.op == BATCH_NORM:
            return self._normalized(node, inputs[0])
        if node.weight is None:
            return op_of(node).value(run, node, *inputs)
        if node.name not in self._tensors:
            bias = None if node.bias is None else run.tensor(node.bias, "float32")
            self._tensors[node.name] = run.shared(node.weight), bias
        return op_of(node).value(run, node, inputs[0], *self._tensors[node.name])

    def _normalized(self, node: Node, x: Tensor) -> Tensor:
        """A batch norm that could not be folded, in its float end."""
        a = node.attrs
        scale = np.asarray(a["gamma"]) / np.sqrt(np.asarray(a["variance"]) + a["epsilon"])
        shape = (-1, *(1,) * (len(node.shape) - 2)) if self.graph.layout == "NCHW" else (-1,)
        precision = self.runner.precision_of(x)
        factor = self.runner.tensor(scale.reshape(shape), precision)
        shift = self.runner.tensor((a["beta"] - a["mean"] * scale).reshape(shape), precision)
        return x * factor + shift

    def clamped(self, node: Node, x: Tensor) -> Tensor:
        """The node's own clamp."""
        if node.low is not None:
            x = self.runner.maximum(x, node.low)
        return x if node.high is None else self.runner.minimum(x, node.high)

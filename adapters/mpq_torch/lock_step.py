"""A graph run node by node on all batches, so that two models can be walked through side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import fx


class LockStep:
    """Runs a graph node by node on all batches, keeping each value until its last reader has run.

    order: names of the nodes in the order in which they will run, if it is not the graph's own.
    """

    def __init__(
        self, graph: fx.GraphModule, batches: Sequence[tuple[Any, ...]], order: Sequence[str] | None = None
    ) -> None:
        self.values: dict[str, list[Any]] = {}
        self.nodes = {node.name: node for node in graph.graph.nodes}
        self._batches = batches
        self._interpreter = fx.Interpreter(graph)
        self._placeholders = [node.name for node in graph.graph.nodes if node.op == "placeholder"]
        places = {name: index for index, name in enumerate(order or self.nodes)}
        self._last_reader = {
            node.name: max(node.users, key=lambda user: places[user.name]).name
            for node in graph.graph.nodes
            if node.users
        }

    def run(self, name: str) -> None:
        """Compute the node of this name on every batch."""
        node = self.nodes[name]
        if node.op == "placeholder":
            index = self._placeholders.index(name)
            default = node.args[0] if node.args else None
            self.values[name] = [batch[index] if index < len(batch) else default for batch in self._batches]
            return
        self.values[name] = self.compute(node)
        for source in node.all_input_nodes:
            if self._last_reader[source.name] == name:
                del self.values[source.name]

    def compute(self, node: fx.Node) -> list[Any]:
        """What a node gives on every batch."""
        results = []
        for index in range(len(self._batches)):
            args, kwargs = self.arguments(node, index)
            results.append(getattr(self._interpreter, node.op)(node.target, args, kwargs))
        return results

    def arguments(self, node: fx.Node, index: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments of a node on one batch."""
        self._interpreter.env = {n: self.values[n.name][index] for n in node.all_input_nodes}
        args, kwargs = self._interpreter.fetch_args_kwargs_from_env(node)
        return tuple(args), dict(kwargs)

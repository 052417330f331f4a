"""Variables that several functions of a model multiply with: one weight, whose owner is the first call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mpq_plugins.graph.node import Node
from mpq_tfmot.keras import tf
from mpq_tfmot.reader.record import Record


class SharedVariables:
    """The nodes that were the first to multiply with a variable, by op."""

    def __init__(self) -> None:
        self._first: dict[tuple[int, str], tuple[Any, str]] = {}

    def sharing(
        self, made: Sequence[Node], record: Record, nodes: Mapping[str, Node], further: Callable[[str], str]
    ) -> list[Node]:
        """The nodes of a call of a function, whose weight is that of the first call with the same variable.

        nodes: those that the calls before have made. further: a name for one more call of a layer, as its name has it
        once the model is written, of layers.
        """
        given = tf.nest.flatten((record.call_args, record.call_kwargs))
        own = [part for part in given if isinstance(part, tf.Variable)]
        if len(own) != 1:
            return list(made)
        names, shared = dict[str, str](), list[Node]()
        for node in made:
            owner = self._owner(node, own[0], nodes)
            if owner:
                counted = node.name.startswith(f"{owner}__call")
                names[node.name] = node.name if counted else further(owner)
            inputs = tuple(names.get(name, name) for name in node.inputs)
            shared.append(replace(node, name=names.get(node.name, node.name), inputs=inputs, layer=owner or node.layer))
        return shared

    def _owner(self, node: Node, variable: Any, nodes: Mapping[str, Node]) -> str:
        if node.weight is None:
            return ""
        _, name = self._first.setdefault((id(variable), node.op), (variable, node.name))
        first = nodes.get(name)
        if first is None or first.weight is None or first.attrs != node.attrs:
            return ""
        return name if np.array_equal(first.weight, node.weight) else ""

    def renamed(self, old: str, new: str) -> None:
        """Take note of another name of a node."""
        self._first.update({key: (held, new) for key, (held, name) in self._first.items() if name == old})

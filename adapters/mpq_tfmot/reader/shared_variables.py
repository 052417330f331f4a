"""Variables that several functions of a model multiply with: one weight, whose owner is the first call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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

    def sharing(self, made: Sequence[Node], record: Record, nodes: Mapping[str, Node]) -> list[Node]:
        """The nodes of a call of a function, whose weight is that of the first call with the same variable.

        nodes: those that the calls before have made.
        """
        given = tf.nest.flatten((record.call_args, record.call_kwargs))
        own = [part for part in given if isinstance(part, tf.Variable)]
        return [self._owned(node, own[0], nodes) for node in made] if len(own) == 1 else list(made)

    def _owned(self, node: Node, variable: Any, nodes: Mapping[str, Node]) -> Node:
        if node.weight is None:
            return node
        _, name = self._first.setdefault((id(variable), node.op), (variable, node.name))
        first = nodes.get(name)
        if first is None or first.weight is None or first.attrs != node.attrs:
            return node
        same = np.array_equal(first.weight, node.weight)
        return replace(node, layer=first.layer or name) if same else node

    def renamed(self, old: str, new: str) -> None:
        """Take note of another name of a node."""
        self._first.update({key: (held, new) for key, (held, name) in self._first.items() if name == old})

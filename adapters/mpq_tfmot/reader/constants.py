"""Constant nodes of a Keras model: what it computes from its own tensors and sizes, and tensors that calls read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mpq_plugins.graph.node import UNKNOWN, Batch, Node
from mpq_tfmot.keras import tf
from mpq_tfmot.reader.arithmetic import FUNCTIONS
from mpq_tfmot.reader.folded import Folding, with_values
from mpq_tfmot.reader.own_tensors import OwnTensor, constant_node, lifted
from mpq_tfmot.reader.record import Record, is_function_layer

FOLDED = "folded"
"""What a node without a record is that depends on sizes alone; who reads it knows its value."""
OUTPUT = "output"
"""What a node is that takes one of several outputs of a layer."""
BROADCASTING = (*FUNCTIONS, "math.maximum", "math.minimum", "linalg.matmul")
"""Functions that give what has fewer axes more of them in front, and a number as many elements as the others have."""


class Constants:
    """nodes: of the graph, which constants are added to. fresh: makes a name one that no other node has."""

    def __init__(self, nodes: dict[str, Node], fresh: Callable[[str], str]) -> None:
        self.nodes, self.fresh = nodes, fresh
        self._folding = Folding()
        self._own: dict[int, tuple[Any, str]] = {}

    def folded(self, node: Any, name: str) -> list[str] | None:
        """The nodes of the outputs of a call that depends on no argument; None for another."""
        if not self._folding.take(node):
            return None
        name = self.fresh(name)
        outputs = tf.nest.flatten(node.outputs)
        names = [name if len(outputs) == 1 else f"{name}.output{index}" for index in range(len(outputs))]
        for tensor, own in zip(outputs, names, strict=True):
            value = self._folding.sample(tensor)
            attrs = {"what": FOLDED, "reason": "it depends on sizes alone"}
            plain = Node(own, UNKNOWN, (), (Batch(), *tensor.shape[1:]), attrs=attrs)
            self.nodes[own] = plain if value is None else constant_node(own, value)
        return names

    def operands(self, node: Any, values: dict[int, str], scope: str) -> Record:
        """A call with arrays instead of the tensors that are always the same, and, of a layer, with symbols for the
        tensors of the model's own. values: nodes by the id of the symbol that stands for them."""
        function = is_function_layer(node.layer)
        broadcasts = function and str(node.layer.symbol) in BROADCASTING
        record = with_values(node, self._folding, broadcasts, masks=not function)
        return record if function else self.lifted(record, values, scope)

    def lifted(self, record: Record, values: dict[int, str], scope: str) -> Record:
        """A call with symbols for the tensors of the model's own that it reads."""
        symbol = str(getattr(record.layer, "symbol", ""))
        own, changed = lifted(record, symbol in BROADCASTING)
        for tensor in own:
            values[id(tensor.symbol)] = self._named(tensor, f"{scope}{record.layer.name}", scope)
        return changed

    def _named(self, tensor: OwnTensor, reader: str, scope: str) -> str:
        """The node of a tensor, one for all calls that read it with as many axes."""
        held, name = self._own.get(id(tensor.held), (None, ""))
        if held is None or self.nodes[name].attrs["value"].shape != tensor.value.shape:
            name = self.fresh(f"{scope}{tensor.name}" if tensor.name else f"{reader}.constant")
            self.nodes[name] = constant_node(name, tensor.value)
            self._own[id(tensor.held)] = tensor.held, name
        return name

"""Node and Graph: a model as ops in the order of execution, with arrays and no framework's objects."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.errors import ModelError, UnsupportedOp
from mpq_plugins.inventory import ModelInput

Array = NDArray[np.float64]
Weight = NDArray[np.floating[Any]]
Layout = Literal["NCHW", "NHWC"]
"""Where the channels of an activation lie: behind the batch, or last."""

INPUT_SUFFIX = "__input"
"""What the name of an "input" node has behind the name of its site."""
ARGUMENT, CONSTANT, INPUT, FLOAT, BATCH_NORM = "argument", "constant", "input", "float", "batch_norm"
UNKNOWN = "unknown"
"""The op of a node that a reader has no record for (attrs: what, in a word; reason, in a sentence; weights, how many
elements its weights have; where the reader knows the function, also function, a word, and arguments, all that it was
given, by name: plain values and Operands)."""
RAW = (ARGUMENT, CONSTANT, FLOAT)
"""Ops whose output is a float tensor without a grid."""


@dataclass(frozen=True)
class Batch:
    """An axis with ``times`` entries for every sample: the batch itself, or what a reshape joined with it."""

    times: int = 1


@dataclass(frozen=True)
class Operand:
    """Among the arguments of a function: the output of a node's ``inputs[index]``."""

    index: int


Shape = tuple[int | Batch, ...]


def sample_shape(shape: Shape) -> tuple[int, ...]:
    """A shape for one sample, without the batch axis.

    >>> sample_shape((Batch(), 3, 8)), sample_shape((Batch(4), 8))
    ((3, 8), (4, 8))
    """
    sizes: list[int] = []
    for size in shape:
        if isinstance(size, Batch):
            sizes += [size.times] if size.times > 1 else []
        else:
            sizes.append(size)
    return tuple(sizes)


@dataclass(frozen=True, eq=False)
class Node:
    """One op of a model.

    name: unique; of the module or layer where there is one.
    op: a word of ``graph.ops``, or "argument" (a float tensor that the model is given), "constant" (one that it
        holds), "float" (what no op describes, or what is kept in float), "batch_norm" (until it is folded).
    inputs: names of the nodes whose outputs it reads. shape: of its output.
    weight: [out, in / groups, rows, columns] of a convolution (no rows over signals), [out, in] of a linear; of a
        transposed convolution too, whose kernel is not flipped; float32, and perhaps in the framework's own memory, so
        that nobody writes to it, or float64 where float32 does not hold its values. bias: [out], float64; None without
        one.
    low, high: bounds of a clamp, own or fused; None for none.
    layer: name of the layer that owns the weight, where several nodes share it; else the node's own.
    attrs: what else the op needs, as plain values; axes count from zero and include the batch.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    shape: Shape = ()
    weight: Weight | None = None
    bias: Array | None = None
    low: float | None = None
    high: float | None = None
    layer: str | None = None
    attrs: Mapping[str, Any] = field(default_factory=dict)

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """The shape of the output for one sample."""
        return sample_shape(self.shape)

    @property
    def site(self) -> str:
        """The name of the activation site that the node's output would be."""
        return self.name.removesuffix(INPUT_SUFFIX) if self.op == INPUT else self.name

    @property
    def weighted(self) -> bool:
        """Whether the op multiplies with a weight of its own."""
        return self.weight is not None

    @property
    def weight_site(self) -> str:
        """The name of the site of the weight."""
        return f"{self.layer or self.name}.weight"

    @property
    def biases(self) -> Array:
        """The bias, zeros where there is none, [out]."""
        if self.bias is not None:
            return self.bias
        assert self.weight is not None
        return np.zeros(len(self.weight))

    @property
    def rectified(self) -> bool:
        """Whether the node's clamp lets nothing below zero through."""
        return self.low is not None and self.low >= 0 and not self.below_zero

    @property
    def below_zero(self) -> bool:
        """Whether the node's clamp lets nothing but values below zero through."""
        return self.high is not None and self.high < 0


@dataclass(frozen=True, eq=False)
class Graph:
    """A model.

    nodes: in an order of execution. outputs: names of the nodes that the model returns, flat.
    layout: of the activations, and so of what the framework's weights look like (``graph.weights``).
    plain: the model's arguments that are no tensors, as they were when it was read; one that no node reads decided
        what the graph is.

    Raises ModelError for names that are repeated or unknown.
    """

    nodes: tuple[Node, ...]
    outputs: tuple[str, ...]
    layout: Layout
    plain: tuple[ModelInput, ...] = ()

    def __post_init__(self) -> None:
        counts = Counter(node.name for node in self.nodes)
        repeated = sorted(name for name, count in counts.items() if count > 1)
        if repeated:
            raise ModelError(f"node names must be unique; repeated: {', '.join(repeated)}")
        known: set[str] = set()
        for node in self.nodes:
            missing = [name for name in node.inputs if name not in known]
            if missing:
                raise ModelError(f"{node.name} reads {', '.join(missing)} before it is computed")
            known.add(node.name)
        lost = [name for name in self.outputs if name not in known]
        if lost:
            raise ModelError(f"the model returns {', '.join(lost)}, which it does not compute")

    @cached_property
    def _by_name(self) -> dict[str, Node]:
        return {node.name: node for node in self.nodes}

    @cached_property
    def _readers(self) -> dict[str, tuple[Node, ...]]:
        found: dict[str, list[Node]] = {node.name: [] for node in self.nodes}
        for node in self.nodes:
            for name in dict.fromkeys(node.inputs):
                found[name].append(node)
        return {name: tuple(nodes) for name, nodes in found.items()}

    def __getitem__(self, name: str) -> Node:
        return self._by_name[name]

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def readers(self, name: str) -> tuple[Node, ...]:
        """The nodes that read a node's output, each once."""
        return self._readers[name]

    @cached_property
    def computed(self) -> frozenset[str]:
        """The nodes that depend on the model's arguments, and so have as many samples as those."""
        found: set[str] = set()
        for node in self.nodes:
            if node.op == ARGUMENT or found.intersection(node.inputs):
                found.add(node.name)
        return frozenset(found)

    def alike(self, first: str, second: str) -> bool:
        """Whether two outputs have one shape, whatever the number of samples.

        A constant has the shape of what depends on arguments where it is of several samples: the model takes as many.
        """
        one, other = self[first].shape, self[second].shape
        if (first in self.computed) == (second in self.computed):
            return one == other
        constant = other if first in self.computed else one
        return one[1:] == other[1:] and constant[:1] not in ((), (Batch(),))

    @property
    def arguments(self) -> tuple[Node, ...]:
        """The model's arguments, in their order."""
        found = [node for node in self.nodes if node.op == ARGUMENT]
        return tuple(sorted(found, key=lambda node: int(node.attrs["index"])))

    @property
    def layers(self) -> tuple[Node, ...]:
        """The nodes with a weight."""
        return tuple(node for node in self.nodes if node.weighted)

    @property
    def float_ops(self) -> tuple[str, ...]:
        """Names of the ops that stay float."""
        return tuple(node.name for node in self.nodes if node.op == FLOAT)

    @property
    def integer_outputs(self) -> tuple[str, ...]:
        """The ends of the part on grids: what the model returns or float ops read, each once."""
        read = [name for node in self.nodes if node.op == FLOAT for name in node.inputs]
        wanted = [*self.outputs, *read]
        return tuple(dict.fromkeys(name for name in wanted if self[name].op not in RAW))

    def mapped(self, change: Callable[[Node], Node]) -> Graph:
        """The graph with every node replaced by what ``change`` makes of it, under the same name."""
        return replace(self, nodes=tuple(change(node) for node in self.nodes))

    def with_nodes(self, changed: Iterable[Node]) -> Graph:
        """The graph with these nodes in the place of those of the same names."""
        new = {node.name: node for node in changed}
        return self.mapped(lambda node: new.get(node.name, node))


def undescribed(node: Node, reason: str) -> Node:
    """The node as one that no op describes, which remembers what it was. reason: why it is on no grid."""
    return Node(node.name, UNKNOWN, node.inputs, node.shape, attrs={"what": node.op, "reason": reason, "was": node})


def check_batches(graph: Graph) -> None:
    """Raise UnsupportedOp, with all names, for arguments without a batch axis."""
    without = [node.name for node in graph.arguments if node.shape and not isinstance(node.shape[0], Batch)]
    if without:
        raise UnsupportedOp(
            f"{', '.join(without)}: an argument that does not grow with the batch has no form here; make it a constant "
            "of the model, or give it as many samples as the others",
            without,
        )


def merged(graph: Graph, gone: Node, into: Node) -> Graph:
    """The graph without ``gone``, whose work ``into`` (in the place of the node of its name) does too."""
    return renamed(graph, {into.name: into}, {gone.name: into.name})


def renamed(graph: Graph, changed: Mapping[str, Node], into: Mapping[str, str]) -> Graph:
    """The graph without nodes whose work others do too.

    changed: nodes in the place of those of the same names. into: by the name of each node that goes, who does its work.
    """
    kept = []
    for node in graph.nodes:
        if node.name not in into:
            node = changed.get(node.name, node)
            inputs = tuple(into.get(name, name) for name in node.inputs)
            kept.append(node if inputs == node.inputs else replace(node, inputs=inputs))
    return replace(graph, nodes=tuple(kept), outputs=tuple(into.get(name, name) for name in graph.outputs))

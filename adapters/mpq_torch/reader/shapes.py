"""What a traced model computes on an example, at two batch sizes, so that the batch is known among the axes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, fx

from mpq_plugins.errors import ModelError
from mpq_plugins.graph.node import Batch, Shape
from mpq_torch.calling.arguments import flat, rebuilt
from mpq_torch.calling.batches import not_through
from mpq_torch.calling.node_arguments import source_of
from mpq_torch.modules.written import LEAVES
from mpq_torch.reader.counting import counted
from mpq_torch.reader.shape_values import computes_sizes
from mpq_torch.reader.tracing import CALLS, name_nodes

SIZES = (2, 3)
"""The batch sizes; one would not tell a batch of two from an axis of two."""
FILLED = (torch.zeros_like, torch.ones_like, torch.full_like)
"""Functions that give a number for every element: they have codes on any grid, and an array of zeros on none."""
LIKE = ("new_zeros", "new_ones", "new_full", *FILLED)
"""Functions that take no more than the size and the type of the tensor that they read first."""


@dataclass(frozen=True)
class Observed:
    """shapes: of the nodes that give tensors, batch included. values: what nodes give that are no tensors.

    constants: what is computed from nothing but the model's own tensors and sizes, and is always the same; one sample
    of what has the same for every sample.
    repeated: those of the constants that the model has for every sample.
    same: calls that give the very tensor that they read first.
    by_batch: nodes that give numbers, one or several, which are others for another batch size.
    macs: multiply-accumulates of each call for one sample, as torch's FLOP counter counts matrix products, attention
    and convolutions; recurrent layers by their weights.
    one_batch_size: a sentence that names the op that runs on no batch of another size than the example's; "" for none.
    decided: nodes whose values Python code has asked for, so that the graph is that of these values.
    whole: nodes that give tensors of whole numbers or truth values alone, which lie on no grid.
    truths: those of them that give truth values alone.
    returned: what the model returned when it was run last: at the second batch size, or at the example's.
    """

    shapes: dict[fx.Node, Shape]
    values: dict[fx.Node, Any]
    constants: dict[fx.Node, Tensor] = field(default_factory=dict)
    same: frozenset[fx.Node] = frozenset()
    by_batch: frozenset[fx.Node] = frozenset()
    one_batch_size: str = ""
    returned: Any = None
    macs: dict[fx.Node, int] = field(default_factory=dict)
    decided: frozenset[fx.Node] = frozenset()
    whole: frozenset[fx.Node] = frozenset()
    repeated: frozenset[fx.Node] = frozenset()
    truths: frozenset[fx.Node] = frozenset()


def at_size(example: Sequence[Any], wanted: int = SIZES[0]) -> list[Any]:
    """The example's samples repeated to a batch size; as they are where they have no common batch axis."""
    samples = _samples(example)
    if len(samples) != 1:
        return list(example)
    (size,) = samples
    return [_repeated(argument, wanted, size) for argument in example]


def observe(graph: fx.GraphModule, example: Sequence[Any], values: Mapping[fx.Node, Any]) -> Observed:
    """Run the graph on the example's samples, repeated to both batch sizes.

    values: of all nodes at the first size, where they are known already; else of some.
    Where tensors have first axes of several sizes, those of one size are repeated and the others have no batch: of the
    sizes that the model runs with, the largest. An example of no tensors, and one of which no size will do, is run as
    it is, and every first axis taken for the batch; so is one of a model that computes with one size of batch only.
    Raises ModelError where the example does not go through the model.
    """
    sizes = sorted(_samples(example), reverse=True)
    known = len(sizes) == 1 and all(node in values for node in graph.graph.nodes if node.op != "output")
    for size in sizes:
        try:
            return _of_batches_of(graph, example, size, values if known else None)
        except ModelError as error:
            if len(sizes) == 1:
                return _of_one_batch_size(graph, example, size, error)
    run = _run(graph, example)
    shapes = {n: _plain(v) for n, v in run.items() if isinstance(v, Tensor)}
    found = Observed(shapes, _others(run), _constants(run), _same(run), returned=_returned(run))
    whole, truths = _whole(run)
    return replace(found, whole=whole, truths=truths)


def _of_batches_of(
    graph: fx.GraphModule, example: Sequence[Any], samples: int, known: Mapping[fx.Node, Any] | None
) -> Observed:
    """From running the example with the arguments of so many samples repeated. Raises ModelError where that fails.

    known: the values at the first size, where there are any.
    """
    first = known or _run(graph, [_repeated(argument, SIZES[0], samples) for argument in example])
    macs: dict[fx.Node, int] = {}
    second = _run(graph, [_repeated(argument, SIZES[1], samples) for argument in example], macs)
    shapes = {}
    for node, other in second.items():
        value = first.get(node)
        if isinstance(value, Tensor) and isinstance(other, Tensor) and value.dim() == other.dim():
            shapes[node] = tuple(_axis(a, b) for a, b in zip(value.shape, other.shape, strict=True))
    by_batch = frozenset(n for n, v in _others(first).items() if _of_numbers(v) and v != second.get(n))
    macs = {node: count // SIZES[1] for node, count in macs.items()}
    returned = _returned(second)
    constants = _constants(second, first)
    repeated = frozenset(n for n, value in constants.items() if len(value.shape) and value.shape != second[n].shape)
    found = Observed(shapes, _others(first), constants, _same(second), by_batch, returned=returned, macs=macs)
    whole, truths = _whole(second)
    return replace(found, whole=whole, truths=truths, repeated=repeated)


def _of_one_batch_size(graph: fx.GraphModule, example: Sequence[Any], samples: int, error: ModelError) -> Observed:
    """From running the example as it is. Raises the error of other sizes where that does not go through either."""
    macs: dict[fx.Node, int] = {}
    try:
        run = _run(graph, example, macs)
    except ModelError:
        raise error from None
    shapes = {}
    for node, value in run.items():
        if isinstance(value, Tensor) and value.dim():
            times, rest = divmod(len(value), samples)
            shapes[node] = (Batch(times) if times and not rest else len(value), *value.shape[1:])
    stopped = _stopped_at(graph, example, samples)
    macs = {node: count // max(1, samples) for node, count in macs.items()}
    returned = _returned(run)
    found = Observed(shapes, _others(run), _constants(run), _same(run), returned=returned, macs=macs)
    whole, truths = _whole(run)
    return replace(found, one_batch_size=stopped, whole=whole, truths=truths)


def _stopped_at(graph: fx.GraphModule, example: Sequence[Any], samples: int) -> str:
    recorder = _Recorder(graph)
    names = name_nodes(graph)
    for size in SIZES:
        try:
            with torch.no_grad():
                recorder.run(*(_repeated(argument, size, samples) for argument in example))
        except Exception as error:
            at = names[recorder.at] if recorder.at is not None else "the model"
            return f"{at} does not run on another batch size than {samples}: {str(error).partition(chr(10))[0]}"
    return ""


def _constants(run: Mapping[fx.Node, Any], other: Mapping[fx.Node, Any] | None = None) -> dict[fx.Node, Tensor]:
    """What depends on no argument. other: a run with fewer samples, which tells what changes from call to call."""
    found: dict[fx.Node, Any] = {}
    sizes: set[fx.Node] = set()
    for node, value in run.items():
        inputs = node.all_input_nodes[1:] if node.target in LIKE else node.all_input_nodes
        if not isinstance(value, Tensor) and computes_sizes(node, sizes):
            sizes.add(node)
        elif (
            node.all_input_nodes
            and not _was_read(node)
            and all(source.op == "get_attr" or source in found or source in sizes for source in inputs)
        ):
            constant = value if other is None else _always(value, other.get(node))
            if constant is not None:
                found[node] = constant
    return {node: value for node, value in found.items() if isinstance(value, Tensor)}


def _was_read(node: fx.Node) -> bool:
    """Whether a model that this package wrote has a node of its graph here, which is that node again."""
    module = node.graph.owning_module
    return (
        node.op == "call_module" and module is not None and isinstance(module.get_submodule(str(node.target)), LEAVES)
    )


def _always(value: Any, before: Any) -> Any:
    """A value that was the same at another number of samples; a sample of a tensor that has as many, all alike."""
    if not isinstance(value, Tensor) or not isinstance(before, Tensor):
        return value
    axes = [axis for axis, size in enumerate(value.shape) if before.dim() == value.dim() and size != before.shape[axis]]
    if len(axes) == 1:
        (axis,) = axes
        samples, (value, before) = (value, before), (value.narrow(axis, 0, 1), before.narrow(axis, 0, 1))
        if tuple(len(x.movedim(axis, 0)) for x in samples) != (SIZES[1], SIZES[0]) or not (samples[0] == value).all():
            return None
    return value if torch.equal(value.nan_to_num(), before.nan_to_num()) else None


def _of_numbers(value: Any) -> bool:
    parts = value if isinstance(value, (tuple, list)) else [value]
    return all(isinstance(part, (int, float)) for part in parts)


def _whole(run: Mapping[fx.Node, Any]) -> tuple[frozenset[fx.Node], frozenset[fx.Node]]:
    """The nodes that are whole, and truths."""
    whole, truths = set(), set()
    for node, value in run.items():
        tensors = [leaf for leaf in flat([value]) if isinstance(leaf, Tensor)]
        if tensors and not any(tensor.is_floating_point() for tensor in tensors):
            whole.add(node)
            truths.update([node] if all(tensor.dtype == torch.bool for tensor in tensors) else [])
    return frozenset(whole), frozenset(truths)


def _same(run: Mapping[fx.Node, Any]) -> frozenset[fx.Node]:
    reading = [node for node in run if node.args and isinstance(node.args[0], fx.Node)]
    return frozenset(n for n in reading if isinstance(run[n], Tensor) and run[n] is run.get(source_of(n)))


def _returned(run: Mapping[fx.Node, Any]) -> Any:
    return next(value for node, value in run.items() if node.op == "output")


def _samples(example: Sequence[Any]) -> set[int]:
    return {len(t) for t in flat(example) if isinstance(t, Tensor) and t.dim()}


def _axis(first: int, second: int) -> int | Batch:
    return int(first) if first == second else Batch(max(1, first // SIZES[0]))


def _plain(value: Tensor) -> Shape:
    return (Batch(), *value.shape[1:]) if value.dim() else ()


def _others(run: Mapping[fx.Node, Any]) -> dict[fx.Node, Any]:
    return {node: value for node, value in run.items() if not isinstance(value, Tensor)}


def _repeated(argument: Any, size: int, samples: int) -> Any:
    def repeated(leaf: Any) -> Any:
        if not isinstance(leaf, Tensor) or not leaf.dim() or len(leaf) != samples:
            return leaf
        return leaf[torch.arange(size, device=leaf.device) % len(leaf)]

    return rebuilt(argument, repeated)


def _run(graph: fx.GraphModule, arguments: Sequence[Any], macs: dict[fx.Node, int] | None = None) -> dict[fx.Node, Any]:
    """What every node gives. macs: takes the multiply-accumulates of every call, for the whole batch."""
    recorder = _Recorder(graph, macs)
    try:
        with torch.no_grad():
            recorder.run(*arguments)
    except Exception as error:
        raise not_through(arguments, error) from error
    return recorder.found


class _Recorder(fx.Interpreter):
    """found: what every node gave. macs: what it multiplied, if that is asked. at: the node that runs, or failed."""

    def __init__(self, graph: fx.GraphModule, macs: dict[fx.Node, int] | None = None) -> None:
        super().__init__(graph)
        self.macs = macs
        self.found: dict[fx.Node, Any] = {}
        self.sizes: set[fx.Node] = set()
        self.at: fx.Node | None = None

    def run_node(self, n: fx.Node) -> Any:
        self.at = n
        if computes_sizes(n, self.sizes):
            self.sizes.add(n)
        if self.macs is None or n.op not in CALLS or n in self.sizes:
            self.found[n] = super().run_node(n)
        else:
            called = self.fetch_attr(str(n.target)) if n.op == "call_module" else None
            first = self.found.get(n.args[0]) if n.args and isinstance(n.args[0], fx.Node) else None
            self.found[n], self.macs[n] = counted(lambda: super(_Recorder, self).run_node(n), called, first)
        return self.found[n]

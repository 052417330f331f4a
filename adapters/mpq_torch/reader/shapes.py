"""What a traced model computes on an example, at two batch sizes, so that the batch is known among the axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from mpq_plugins.errors import ModelError
from mpq_plugins.graph.node import Batch, Shape
from mpq_torch.reader.tracing import name_nodes

SIZES = (2, 3)
"""The batch sizes; one would not tell a batch of two from an axis of two."""


@dataclass(frozen=True)
class Observed:
    """shapes: of the nodes that give tensors, batch included. values: what nodes give that are no tensors.

    by_batch: nodes that give numbers which are others for another batch size.
    one_batch_size: a sentence that names the op that runs on no batch of another size than the example's; "" for none.
    """

    shapes: dict[fx.Node, Shape]
    values: dict[fx.Node, Any]
    by_batch: frozenset[fx.Node] = frozenset()
    one_batch_size: str = ""


def observe(graph: fx.GraphModule, example: Sequence[Any]) -> Observed:
    """Run the graph on the example's samples, repeated to both batch sizes.

    An example whose tensors have no common batch axis is run as it is, and its first axis taken for the batch; so is
    one of a model that computes with one size of batch only.
    Raises ModelError where the example does not go through the model.
    """
    samples = {len(t) for t in example if isinstance(t, Tensor) and t.dim()}
    if len(samples) != 1:
        run = _run(graph, example)
        return Observed({n: _plain(v) for n, v in run.items() if isinstance(v, Tensor)}, _others(run))
    try:
        first, second = (_run(graph, [_repeated(argument, size) for argument in example]) for size in SIZES)
    except ModelError as error:
        return _of_one_batch_size(graph, example, samples.pop(), error)
    shapes = {}
    for node, value in first.items():
        other = second[node]
        if isinstance(value, Tensor) and isinstance(other, Tensor) and value.dim() == other.dim():
            shapes[node] = tuple(_axis(a, b) for a, b in zip(value.shape, other.shape, strict=True))
    numbers = {n: v for n, v in _others(first).items() if isinstance(v, (int, float))}
    return Observed(shapes, _others(first), frozenset(n for n, v in numbers.items() if v != second[n]))


def _of_one_batch_size(graph: fx.GraphModule, example: Sequence[Any], samples: int, error: ModelError) -> Observed:
    """From running the example as it is. Raises the error of other sizes where that does not go through either."""
    try:
        run = _run(graph, example)
    except ModelError:
        raise error from None
    shapes = {}
    for node, value in run.items():
        if isinstance(value, Tensor) and value.dim():
            times, rest = divmod(len(value), samples)
            shapes[node] = (Batch(times) if times and not rest else len(value), *value.shape[1:])
    return Observed(shapes, _others(run), one_batch_size=_stopped_at(graph, example, samples))


def _stopped_at(graph: fx.GraphModule, example: Sequence[Any], samples: int) -> str:
    recorder = _Recorder(graph)
    names = name_nodes(graph)
    for size in SIZES:
        try:
            with torch.no_grad():
                recorder.run(*(_repeated(argument, size) for argument in example))
        except Exception as error:
            at = names[recorder.at] if recorder.at is not None else "the model"
            return f"{at} does not run on another batch size than {samples}: {str(error).partition(chr(10))[0]}"
    return ""


def _axis(first: int, second: int) -> int | Batch:
    return int(first) if first == second else Batch(max(1, first // SIZES[0]))


def _plain(value: Tensor) -> Shape:
    return (Batch(), *value.shape[1:]) if value.dim() else ()


def _others(run: dict[fx.Node, Any]) -> dict[fx.Node, Any]:
    return {node: value for node, value in run.items() if not isinstance(value, Tensor)}


def _repeated(argument: Any, size: int) -> Any:
    if not isinstance(argument, Tensor) or not argument.dim():
        return argument
    index = torch.arange(size, device=argument.device) % len(argument)
    return argument[index]


def _run(graph: fx.GraphModule, arguments: Sequence[Any]) -> dict[fx.Node, Any]:
    recorder = _Recorder(graph)
    try:
        with torch.no_grad():
            recorder.run(*arguments)
    except Exception as error:
        given = ", ".join(str(tuple(a.shape)) if isinstance(a, Tensor) else type(a).__name__ for a in arguments)
        reason = " ".join(str(error).split("\n")[0].split())[:200]
        raise ModelError(f"inputs of the shape {given} do not go through the model: {reason}") from error
    return recorder.found


class _Recorder(fx.Interpreter):
    """found: what every node gave. at: the node that runs, or failed."""

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph)
        self.found: dict[fx.Node, Any] = {}
        self.at: fx.Node | None = None

    def run_node(self, n: fx.Node) -> Any:
        self.at = n
        self.found[n] = super().run_node(n)
        return self.found[n]

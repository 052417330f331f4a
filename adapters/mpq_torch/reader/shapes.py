"""What a traced model computes on an example, at two batch sizes, so that the batch is known among the axes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from mpq_plugins.errors import ModelError
from mpq_plugins.graph.node import Batch, Shape

SIZES = (2, 3)
"""The batch sizes; one would not tell a batch of two from an axis of two."""


@dataclass(frozen=True)
class Observed:
    """shapes: of the nodes that give tensors, batch included. values: what nodes give that are no tensors."""

    shapes: dict[fx.Node, Shape]
    values: dict[fx.Node, Any]


def observe(graph: fx.GraphModule, example: Sequence[Any]) -> Observed:
    """Run the graph on the example's samples, repeated to both batch sizes.

    An example whose tensors have no common batch axis, or of a model that takes one batch size only, is run as it is,
    and its first axis taken for the batch. Raises ModelError where the example does not go through the model.
    """
    samples = {len(t) for t in example if isinstance(t, Tensor) and t.dim()}
    if len(samples) != 1:
        return _as_it_is(graph, example)
    try:
        first, second = (_run(graph, [_repeated(argument, size) for argument in example]) for size in SIZES)
    except ModelError:
        return _as_it_is(graph, example)
    shapes = {}
    for node, value in first.items():
        other = second[node]
        if isinstance(value, Tensor) and isinstance(other, Tensor) and value.dim() == other.dim():
            shapes[node] = tuple(_axis(a, b) for a, b in zip(value.shape, other.shape, strict=True))
    return Observed(shapes, _others(first))


def _as_it_is(graph: fx.GraphModule, example: Sequence[Any]) -> Observed:
    run = _run(graph, example)
    return Observed({n: _plain(v) for n, v in run.items() if isinstance(v, Tensor)}, _others(run))


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
    found: dict[fx.Node, Any] = {}

    class Recorder(fx.Interpreter):
        def run_node(self, n: fx.Node) -> Any:
            found[n] = super().run_node(n)
            return found[n]

    try:
        with torch.no_grad():
            Recorder(graph).run(*arguments)
    except Exception as error:
        given = ", ".join(str(tuple(a.shape)) if isinstance(a, Tensor) else type(a).__name__ for a in arguments)
        reason = " ".join(str(error).split("\n")[0].split())[:200]
        raise ModelError(f"inputs of the shape {given} do not go through the model: {reason}") from error
    return found

"""The shape of every tensor of a model, and which of its dimensions grow with the batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from mpq_plugins.errors import ModelError

Shape = tuple[int | None, ...]
"""Sizes; None stands for a dimension that grows with the batch."""


@dataclass(frozen=True)
class Recorded:
    """shapes: of the tensors, by node. numbers: what nodes compute that is no tensor (sizes)."""

    shapes: dict[fx.Node, Shape]
    numbers: dict[fx.Node, Any]


FIXED = "pass dynamic_batch=False to export for the batch size of the example"


def shapes_of(graph: fx.GraphModule, example: Sequence[Any], dynamic_batch: bool) -> Recorded:
    """Shapes by node, from running the example, and a second time with two copies of it.

    Raises ModelError, naming the op, where more than the batch is dynamic, or where the model computes
    with one size of batch only.
    """
    for index, argument in enumerate(example):
        if not isinstance(argument, Tensor):
            raise ModelError(f"argument {index} of the example is a {type(argument).__name__}; ONNX inputs are tensors")
    once = _Recorder(graph).record(example)
    if not dynamic_batch:
        return once
    samples = _samples(example)
    twice = [torch.cat([t, t]) if t.dim() and len(t) == samples else t for t in example]
    recorder = _Recorder(graph)
    try:
        larger = recorder.record(twice)
    except Exception as error:
        what, reason = recorder.at, str(error).partition("\n")[0]
        raise ModelError(f"{what} does not run on another batch size than {samples}: {reason}; {FIXED}") from error
    shapes = {node: _open(node, shape, larger.shapes.get(node, ())) for node, shape in once.shapes.items()}
    return Recorded(shapes, once.numbers)


def _samples(example: Sequence[Tensor]) -> int:
    return next((len(t) for t in example if t.dim()), 0)


def _open(node: fx.Node, once: Shape, twice: Shape) -> Shape:
    grows = [a != b for a, b in zip(once, twice, strict=False)]
    if len(once) != len(twice) or sum(grows) > 1:
        raise ModelError(
            f"{node.meta.get('mpq_name', node.name)}: its shape is {once} for one example and {twice} for two, and "
            f"ONNX can have one dynamic dimension here, that of the batch; {FIXED}"
        )
    return tuple(None if g else size for size, g in zip(once, grows, strict=True))


class _Recorder(fx.Interpreter):
    """Runs a graph and keeps what Recorded holds; ``at`` names the op that it is at."""

    def __init__(self, graph: fx.GraphModule) -> None:
        super().__init__(graph)
        self.found = Recorded({}, {})
        self.at = ""

    def record(self, example: Sequence[Tensor]) -> Recorded:
        with torch.no_grad():
            self.run(*example)
        return self.found

    def run_node(self, n: fx.Node) -> Any:
        self.at = str(n.meta.get("mpq_name", n.name))
        result = super().run_node(n)
        if isinstance(result, Tensor):
            self.found.shapes[n] = tuple(result.shape)
        else:
            self.found.numbers[n] = result
        return result

"""torch.export of a model, for any batch size where the model allows it, with errors that name the module."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from mpq_plugins.errors import ModelError


def export(model: nn.Module, example_inputs: Sequence[Any], dynamic_batch: bool = True) -> fx.GraphModule:
    """``torch.export.export(model, example_inputs).module()``.

    dynamic_batch: leave the first axis of every tensor open; where the model fixes it (it reshapes to
    numbers), the graph takes batches of the example's size only, and says so when it is run.
    Raises ModelError with torch's own message and the module that it stopped in.
    """
    inputs = _at_least_two(example_inputs) if dynamic_batch else tuple(example_inputs)
    axes = tuple({0: torch.export.Dim.AUTO} if isinstance(x, Tensor) and x.dim() else None for x in inputs)
    stopped = _Innermost(model)
    try:
        with torch.no_grad(), stopped:
            program = torch.export.export(model, inputs, dynamic_shapes=axes if dynamic_batch else None)
    except Exception as error:
        where = f" in module {stopped.path!r} ({stopped.kind})" if stopped.path else ""
        raise ModelError(
            f"torch.export cannot export {type(model).__name__}: it stopped{where} at {type(error).__name__}: "
            f"{_first_lines(error)}. Control flow that depends on tensor values has to become torch.where or "
            "torch.cond, or leave the model"
        ) from error
    return program.module()


def _at_least_two(inputs: Sequence[Any]) -> tuple[Any, ...]:
    """torch.export takes a size of one for a constant; two samples leave it open."""
    sizes = {len(x) for x in inputs if isinstance(x, Tensor) and x.dim()}
    return tuple(torch.cat([x, x]) if sizes == {1} and isinstance(x, Tensor) and x.dim() else x for x in inputs)


def _first_lines(error: BaseException, most: int = 400) -> str:
    text = re.sub(r"\s+", " ", str(error)).strip().rstrip(".")
    return text if len(text) <= most else f"{text[:most]} ..."


class _Innermost:
    """Remembers the module in whose forward an exception was raised, by hooks that are taken off again."""

    def __init__(self, model: nn.Module) -> None:
        self.path = ""
        self.kind = ""
        self._model = model
        self._running: list[str] = []
        self._handles: list[Any] = []

    def __enter__(self) -> _Innermost:
        for path, module in self._model.named_modules():
            self._handles.append(module.register_forward_pre_hook(self._entered(path)))
            self._handles.append(module.register_forward_hook(self._left))
        return self

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        for handle in self._handles:
            handle.remove()
        if error is not None and self._running:
            self.path = self._running[-1]
            self.kind = type(self._model.get_submodule(self.path)).__name__

    def _entered(self, path: str) -> Any:
        return lambda module, args: self._running.append(path)

    def _left(self, module: nn.Module, args: Any, output: Any) -> None:
        self._running.pop()

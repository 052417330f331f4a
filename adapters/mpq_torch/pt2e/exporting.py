"""torch.export of a model, for any batch size where the model allows it, with errors that name the module."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree
from torch.utils.hooks import RemovableHandle

from mpq_plugins.errors import ModelError
from mpq_torch.calling.arguments import flat, open_batch, rebuilt, takes_of
from mpq_torch.calling.batches import as_batch

_TRAINING = {torch.ops.aten.batch_norm.default: 5, torch.ops.aten.dropout.default: 2}
"""Operators that are told whether the model trains, and at which of their arguments."""


def export(model: nn.Module, example_inputs: Sequence[Any], dynamic_batch: bool = True) -> fx.GraphModule:
    """``torch.export.export(model, example_inputs).module()``.

    dynamic_batch: leave the first axis of every tensor open; where the model fixes it (it reshapes to
    numbers), the graph takes batches of the example's size only, and says so when it is run.
    example_inputs: a tensor, a tuple of the model's arguments, or a dict of them by name. Dataclasses that the model
    returns are made known to torch (torch.export.register_dataclass).
    Raises ModelError with torch's own message and the module that it stopped in.
    """
    takes = takes_of(model)
    inputs: tuple[Any, ...] = as_batch(example_inputs, takes)
    inputs = _at_least_two(inputs) if dynamic_batch else inputs
    axes = dict(zip(takes.names_of(len(inputs)), rebuilt(inputs, open_batch), strict=True))
    given, named = takes.split(inputs)
    stopped = _Innermost(model)
    try:
        with torch.no_grad(), stopped:
            program = torch.export.export(model, given, named, dynamic_shapes=axes if dynamic_batch else None)
    except Exception as error:
        if stopped.make_known():
            return export(model, example_inputs, dynamic_batch)
        where = f" in module {stopped.path!r} ({stopped.kind})" if stopped.path else ""
        raise ModelError(
            f"torch.export cannot export {type(model).__name__}: it stopped{where} at {type(error).__name__}: "
            f"{_first_lines(error)}. Control flow that depends on tensor values has to become torch.where or "
            "torch.cond, or leave the model"
        ) from error
    return program.module()


def check_exported(graph: Any, made_by: str) -> None:
    """Raise ModelError for what is no graph of torch.export's. made_by: the call that gives one."""
    calls = (
        [node.target for node in graph.graph.nodes if node.op != "get_attr"]
        if isinstance(graph, fx.GraphModule)
        else []
    )
    if not any(isinstance(target, torch._ops.OpOverload) for target in calls):
        kind = "a graph of torch.fx" if isinstance(graph, fx.GraphModule) else type(graph).__name__
        raise ModelError(f"an exported graph is needed, as {made_by} gives it, and not {kind}")


def check_evaluating(graph: fx.GraphModule) -> None:
    """Raise ModelError for a graph of a model in training mode, whose norms and dropouts compute something else."""
    for node in graph.graph.nodes:
        place = _TRAINING.get(node.target)
        if place is not None and len(node.args) > place and node.args[place]:
            raise ModelError(
                f"{node.name} was exported in training mode, and an integer model computes as in evaluation: call "
                "model.eval() before pt2e.export"
            )


def _at_least_two(inputs: Sequence[Any]) -> tuple[Any, ...]:
    """torch.export takes a size of one for a constant; two samples leave it open."""
    sizes = {len(x) for x in flat(inputs) if isinstance(x, Tensor) and x.dim()}
    if sizes != {1}:
        return tuple(inputs)
    return tuple(rebuilt(x, lambda t: torch.cat([t, t]) if isinstance(t, Tensor) and t.dim() else t) for x in inputs)


def _dataclasses(value: Any) -> set[type]:
    """The classes of dataclasses in what a model returned that torch does not know as such."""
    leaves = pytree.tree_leaves(value)
    return {type(leaf) for leaf in leaves if dataclasses.is_dataclass(leaf) and not isinstance(leaf, type)}


def _first_lines(error: BaseException, most: int = 400) -> str:
    text = re.sub(r"\s+", " ", str(error)).strip().rstrip(".")
    return text if len(text) <= most else f"{text[:most]} ..."


class _Innermost:
    """Remembers the module in whose forward an exception was raised, and what the model returned, until it leaves."""

    def __init__(self, model: nn.Module) -> None:
        self.path = ""
        self.kind = ""
        self._returned: Any = None
        self._model = model
        self._before: Any = None
        self._running: list[str] = []
        self._handles: list[RemovableHandle] = []

    def __enter__(self) -> _Innermost:
        own = self._model.forward

        @functools.wraps(own)
        def forward(*args: Any, **kwargs: Any) -> Any:
            self._returned = own(*args, **kwargs)
            return self._returned

        self._before = self._model.__dict__.get("forward")
        self._model.forward = forward
        for path, module in self._model.named_modules():
            self._handles.append(module.register_forward_pre_hook(self._entered(path)))
            self._handles.append(module.register_forward_hook(self._left))
        return self

    def make_known(self) -> bool:
        """Register the dataclasses that the model returned; whether there were any that torch did not know."""
        found = _dataclasses(self._returned)
        if isinstance(self._model, fx.GraphModule):  # which torch.export interprets
            targets = {node.target for node in self._model.graph.nodes if isinstance(node.target, type)}
            found = {kind for kind in targets if dataclasses.is_dataclass(kind)} - set(pytree.SUPPORTED_NODES)
        for kind in found:
            torch.export.register_dataclass(kind)
        self._returned = None
        return bool(found)

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        for handle in self._handles:
            handle.remove()
        del self._model.forward
        if self._before is not None:
            self._model.forward = self._before
        if error is not None and self._running:
            self.path = self._running[-1]
            self.kind = type(self._model.get_submodule(self.path)).__name__

    def _entered(self, path: str) -> Callable[[nn.Module, Any], None]:
        return lambda module, args: self._running.append(path)

    def _left(self, module: nn.Module, args: Any, output: Any) -> None:
        self._running.pop()

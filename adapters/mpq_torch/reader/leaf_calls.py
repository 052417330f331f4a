"""Layers that torch.export sees as one call each, as torch.fx does.

While a model is exported, the forward of each of torch's own layers is one op of ours: whatever a layer computes, in
however many steps, whatever it takes and returns, its call is known as it was made.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

_LIBRARY = torch.library.Library("mpq_torch", "DEF")
_LIBRARY.define("leaf(Tensor[] inputs, int call) -> Tensor[]")
LEAF = torch.ops.mpq_torch.leaf.default
_NUMBERS = itertools.count()
_RUNNING: dict[int, Callable[[Sequence[Tensor]], list[Tensor]]] = {}
"""What calls compute, by their numbers, while a model is exported."""


@dataclass
class LeafCall:
    """One call of a layer. path: of the layer. flat, spec: its arguments and keywords, taken apart by pytree.

    out: what it returned, taken apart, None in the places of tensors that the model may read; out_spec: how it was.
    """

    path: str
    flat: tuple[Any, ...]
    spec: Any
    out: list[Any] = field(default_factory=list)
    out_spec: Any = None

    def arguments(self, tensors: Sequence[Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Its arguments and keywords, with these in the places of its tensors."""
        left = iter(tensors)
        given = [next(left) if isinstance(value, Tensor) else value for value in self.flat]
        arguments: tuple[tuple[Any, ...], dict[str, Any]] = pytree.tree_unflatten(given, self.spec)
        return arguments

    def returned(self, tensors: Sequence[Any]) -> Any:
        """What it returned, with these in the places of its tensors."""
        left = iter(tensors)
        return pytree.tree_unflatten([next(left) if isinstance(v, Tensor) else v for v in self.out], self.out_spec)


@torch.library.register_fake("mpq_torch::leaf", lib=_LIBRARY)  # type: ignore[untyped-decorator]
def _shapes(inputs: Sequence[Tensor], call: int) -> list[Tensor]:
    return _RUNNING[call](inputs)


@contextmanager
def as_leaves(modules: Mapping[str, nn.Module]) -> Iterator[dict[int, LeafCall]]:
    """Let each module, by its path, be one op for as long as the context lasts; gives the calls by their numbers."""
    calls: dict[int, LeafCall] = {}
    before = [(module, module.__dict__.get("forward")) for module in modules.values()]
    try:
        for path, module in modules.items():
            module.forward = _one_call(path, module.forward, calls)
        yield calls
    finally:
        for module, own in before:
            module.__dict__.pop("forward", None)
            if own is not None:
                module.forward = own
        for number in calls:
            del _RUNNING[number]


def _one_call(path: str, own: Callable[..., Any], calls: dict[int, LeafCall]) -> Callable[..., Any]:
    def forward(*args: Any, **kwargs: Any) -> Any:
        flat, spec = pytree.tree_flatten((args, kwargs))
        if any(isinstance(value, torch.SymInt) for value in flat):
            return own(*args, **kwargs)
        number, call = next(_NUMBERS), LeafCall(path, tuple(flat), spec)
        calls[number] = call

        def run(tensors: Sequence[Tensor]) -> list[Tensor]:
            given, named = call.arguments(tensors)
            call.out, call.out_spec = pytree.tree_flatten(own(*given, **named))
            return [torch.empty_like(value) for value in call.out if isinstance(value, Tensor)]

        _RUNNING[number] = run
        return call.returned(LEAF([value for value in flat if isinstance(value, Tensor)], number))

    return forward

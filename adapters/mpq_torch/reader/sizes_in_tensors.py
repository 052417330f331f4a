"""Tensors that a model makes of sizes while it is traced: torch's own functions and methods take numbers alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, fx

from mpq_torch.calling.arguments import flat

MAKERS = ("tensor", "as_tensor")
OF_SIZES = ("expand", "repeat", "reshape", "tile", "view")
"""Methods of tensors that take sizes."""


def is_number(value: Any) -> bool:
    """Whether a value is a tensor of one element."""
    return isinstance(value, Tensor) and value.numel() == 1


@contextmanager
def tensors_of(number: Callable[[Any], Any]) -> Iterator[None]:
    """Let torch.tensor and torch.as_tensor take what a tracer has in the place of numbers. number: what that is."""

    def taking(own: Callable[..., Tensor]) -> Callable[..., Tensor]:
        return lambda data, *rest, **more: own(fx.node.map_aggregate(data, number), *rest, **more)

    before = {name: getattr(torch, name) for name in MAKERS}
    try:
        for name, own in before.items():
            setattr(torch, name, taking(own))
        yield
    finally:
        for name, own in before.items():
            setattr(torch, name, own)


@contextmanager
def methods_of(call: Callable[..., Any]) -> Iterator[None]:
    """Let the methods of plain tensors, as a model's buffers are, take what a tracer has in the place of sizes.

    call: records a method by its name and arguments, of which the tensor is the first.
    """

    def taking(name: str, own: Callable[..., Any]) -> Callable[..., Any]:
        def method(*args: Any, **kwargs: Any) -> Any:
            traced = [leaf for leaf in flat([args[1:], kwargs]) if isinstance(leaf, fx.Proxy)]
            return call(name, args, kwargs) if traced and isinstance(args[0], Tensor) else own(*args, **kwargs)

        return method

    before = {name: getattr(Tensor, name) for name in OF_SIZES}
    try:
        for name, own in before.items():
            setattr(Tensor, name, taking(name, own))
        yield
    finally:
        for name, own in before.items():
            setattr(Tensor, name, own)

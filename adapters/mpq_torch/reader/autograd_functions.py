"""Functions of a user's own with a backward of their own, as reversible blocks have: traced by what forward() does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import torch
from torch import fx

from mpq_torch.calling.arguments import flat

_APPLIED: Any = torch.autograd.function._SingleLevelFunction
"""The class whose ``apply`` all of them come to."""
_OF_CONTEXTS = (
    "save_for_backward",
    "save_for_forward",
    "mark_dirty",
    "mark_non_differentiable",
    "set_materialize_grads",
)


@contextmanager
def forwards_traced() -> Iterator[None]:
    """Let each torch.autograd.Function that takes what a tracer has in the place of tensors run its forward on that."""

    def apply(function: Any, *args: Any, **kwargs: Any) -> Any:
        if not any(isinstance(leaf, fx.Proxy) for leaf in flat([args, kwargs])):
            return super(_APPLIED, function).apply(*args, **kwargs)
        if function.setup_context is not _APPLIED.setup_context:
            return function.forward(*args, **kwargs)
        context = SimpleNamespace(needs_input_grad=(False,) * len(args), **dict.fromkeys(_OF_CONTEXTS, _nothing))
        return function.forward(context, *args, **kwargs)

    _APPLIED.apply = classmethod(apply)
    try:
        yield
    finally:
        del _APPLIED.apply


def _nothing(*_: Any) -> None:
    """What is kept for a backward that no graph has."""

"""Multiply-accumulates of the calls of a traced model, whatever they compute."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from mpq_torch.modules.long_series import Recurrence

RECURRENT = (nn.RNNBase, nn.RNNCellBase, Recurrence)


def counted(call: Callable[[], Any], module: nn.Module | None, first: Any) -> tuple[Any, int]:
    """What a call gives, and its multiply-accumulates, for all of the batch.

    Matrix products, attention and convolutions as torch's FLOP counter has them, attention as the two products that it
    is; a recurrent layer multiplies with each element of its weights once for every element of the sequence, which is
    ``first``, its first argument.
    """
    if isinstance(module, RECURRENT) and isinstance(first, Tensor):
        weights = sum(parameter.numel() for parameter in module.parameters() if parameter.dim() > 1)
        return call(), weights * (first.numel() // first.shape[-1])
    counter = _Counter()  # type: ignore[no-untyped-call]  # as torch has it
    with counter, sdpa_kernel(SDPBackend.MATH):
        value = call()
    return value, counter.flops // 2


class _Adding:
    """Adds up what torch's table of FLOPs says of each kernel; two of them are one multiply-accumulate."""

    flops = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        value = func(*args, **(kwargs or {}))
        known = flop_registry.get(func._overloadpacket)
        if known is not None:
            self.flops += int(known(*args, **(kwargs or {}), out_val=value))
        return value


class _Counter(_Adding, TorchDispatchMode):
    """A method that a mode has of its own, torch hides from its compiler, and loads all of that for it: seconds."""

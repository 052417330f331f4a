"""What can be refused only when the shapes are known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from mpq_plugins.errors import UnsupportedOp
from mpq_torch.arithmetic import average_pool_is_exact
from mpq_torch.canonical_ops import SameGrid
from mpq_torch.pooling_rewrites import window_of

FOLDED = "mpq_folded_norm"
"""Attribute of a linear layer: the name of the batch norm that was folded into it."""


def check_shapes(name: str, module: nn.Module, args: Sequence[Any], result: Tensor) -> None:
    """Raise UnsupportedOp, naming the op, where an op has no exact integer kernel at these shapes.

    args: of the call. result: what it computed.
    """
    if isinstance(module, nn.Linear) and hasattr(module, FOLDED) and result.dim() > 2:
        raise UnsupportedOp(
            f"batch norm {getattr(module, FOLDED)} behind linear {name} normalizes axis 1 of a tensor of "
            f"{result.dim()} axes, which is not that of the linear's features, so it cannot be folded; "
            "transpose the tensor before the batch norm"
        )
    if not isinstance(module, SameGrid):
        return
    if module.function == "functional.interpolate" and result.dim() == 3:
        raise UnsupportedOp(
            f"{name}: nearest interpolation of a signal of one dimension has no integer kernel (of images it has); "
            "name it in keep_float, or add an axis of height one before it"
        )
    if module.op == "avg_pool":
        kernel, ceil_mode = args[1], bool(args[4])
        window = window_of(kernel, one_dimensional=module.function == "torch.avg_pool1d")
        if not average_pool_is_exact(window, ceil_mode):
            raise UnsupportedOp(
                f"{name}: average pooling over a window of {kernel} rounds ties in no one way; a mean over the axes "
                "(-2, -1) has an exact kernel, or name it in keep_float"
            )

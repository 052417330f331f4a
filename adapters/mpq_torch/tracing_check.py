"""Does the traced graph compute what the model computes? torch.fx does not follow every Python program."""

from __future__ import annotations

import copy
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from mpq_plugins.errors import ModelError


class HasGraph(Protocol):
    """A model as it was traced. graph: what computes it."""

    @property
    def graph(self) -> nn.Module: ...


SAMPLES = 4
TOLERANCE = 1e-3


def check_traced(model: nn.Module, traced: HasGraph, batch: tuple[Any, ...]) -> None:
    """Raise ModelError where the two differ by more than rounding, as a fraction of the largest output.

    torch.fx records ``y += z`` as a new tensor and does not see writing into a view, so a model that
    reads the old name later is traced as another model.
    """
    few = tuple(t[:SAMPLES] if isinstance(t, Tensor) and t.dim() else t for t in batch)
    with torch.no_grad():
        wanted = torch.utils._pytree.tree_flatten(copy.deepcopy(model).eval()(*few))[0]
        got = torch.utils._pytree.tree_flatten(traced.graph(*few))[0]
    for index, (a, b) in enumerate(zip(wanted, got, strict=True)):
        if not isinstance(a, Tensor) or not a.is_floating_point():
            continue
        scale = float(a.abs().max()) if a.numel() else 0.0
        difference = float((a - b).abs().max()) if a.numel() else 0.0
        if difference > TOLERANCE * scale:
            raise ModelError(
                f"traced by torch.fx, output {index} of the model differs by up to {difference:.3g}: look for in-place "
                "arithmetic (y += z) whose result is read under another name, or writing into a slice"
            )

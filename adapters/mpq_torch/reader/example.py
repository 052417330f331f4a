"""Arguments that a model can be read with, made of what a recipe knows of its inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mpq_plugins.errors import ModelError
from mpq_plugins.inventory import PLAIN, ModelInput
from mpq_torch.calling.arguments import takes_of
from mpq_torch.reader.shapes import SIZES


def example_of(model: nn.Module, inputs: Sequence[ModelInput]) -> list[Any]:
    """Zeros for the tensors that a recipe tells, two where it is open how many; plain arguments as they were."""
    takes = takes_of(model)
    given: dict[str | int, Any] = {}
    for taken in inputs:
        around: Any = given
        for key in taken.place[:-1]:
            around = around.setdefault(key, {})
        around[taken.place[-1]] = taken.value if taken.dtype == PLAIN else _zeros(taken, takes.device)
    rest = [name for name in given if takes.rest and name not in takes.names]
    unknown = [name for name in takes.required if name not in given]
    if unknown:
        raise ModelError(f"nothing is known of the shape of argument {unknown[0]!r}; pass example_inputs")
    known = {name: _listed(part) for name, part in given.items()}
    return [*takes.in_order({str(name): part for name, part in known.items()}), *(known[name] for name in rest)]


def _zeros(taken: ModelInput, device: torch.device | None) -> Tensor:
    shape = [SIZES[0] if size is None else size for size in taken.shape]
    return torch.zeros(shape, dtype=getattr(torch, taken.dtype, torch.float32), device=device)


def _listed(part: Any) -> Any:
    """Dicts of numbers as the lists that they were."""
    if not isinstance(part, dict):
        return part
    values = {key: _listed(value) for key, value in part.items()}
    return list(values.values()) if values and all(isinstance(key, int) for key in values) else values

"""The groups that an optimizer takes the parameters of a search in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from mpq_plugins.training.method import TrainingMethod
from mpq_torch.training.grid_bank import GridBank


def groups_of(
    model: nn.Module,
    banks: Sequence[GridBank],
    method: TrainingMethod,
    lr: float,
    weight_decay: float,
    quantizer_lr: float | None,
) -> list[dict[str, Any]]:
    """Weights with decay, biases and norms without, and what the banks learn; see Search.parameter_groups."""
    learned: dict[float, list[nn.Parameter]] = {}
    owned = set()
    for bank in banks:
        factor = method.gradient_scale(bank.plain)
        for parameter in bank.parameters():
            owned.add(id(parameter))
            learned.setdefault(factor, []).append(parameter)
    rest = [p for p in model.parameters() if id(p) not in owned]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in rest if p.dim() > 1], "lr": lr, "weight_decay": weight_decay, "name": "weights"},
        {"params": [p for p in rest if p.dim() <= 1], "lr": lr, "weight_decay": 0.0, "name": "biases and norms"},
    ]
    for factor, parameters in learned.items():
        rate = lr * factor if quantizer_lr is None else quantizer_lr
        groups.append({"params": parameters, "lr": rate, "weight_decay": 0.0, "name": f"quantizers x {factor:g}"})
    return [group for group in groups if group["params"]]

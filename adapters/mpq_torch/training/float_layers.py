"""The weights and biases of a torch layer, overwritten, and the steps of its accumulator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeAlias

import torch
from torch import Tensor, nn

from mpq_plugins.errors import NonFiniteValues
from mpq_plugins.grid import Grid

TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d)
WeightedLayer: TypeAlias = nn.Linear | nn.Conv1d | nn.Conv2d | nn.ConvTranspose1d | nn.ConvTranspose2d
"""What a written model has for a layer with a weight, or a class of the user's that stands on it."""


class BatchNorm(Protocol):
    """A batch norm that can be folded: one of torch's with running statistics."""

    num_features: int
    eps: float
    momentum: float | None
    track_running_stats: bool
    training: bool
    weight: Tensor | None
    bias: Tensor | None
    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __call__(self, x: Tensor) -> Tensor: ...


def accumulator_steps(layer: WeightedLayer, weight_grid: Grid, inputs: Sequence[Grid]) -> Tensor:
    """step_x * step_w of each output channel, [channels], float64; the coarsest of a shared layer's inputs."""
    channels = layer.weight.shape[1] * layer.groups if isinstance(layer, TRANSPOSED) else layer.weight.shape[0]
    steps = torch.tensor(weight_grid.steps, dtype=torch.float64)
    own = steps if len(steps) == channels else steps[:1].expand(channels)
    return own * max(grid.steps[0] for grid in inputs)


def set_weight(path: str, layer: WeightedLayer, weight: Tensor) -> None:
    """Overwrite a layer's weight, keeping its type. Raises NonFiniteValues, naming the weight."""
    if not torch.isfinite(weight).all():
        raise NonFiniteValues(f"{path}.weight holds NaN or infinite values")
    with torch.no_grad():
        layer.weight.copy_(weight)


def set_bias(layer: WeightedLayer, bias: Tensor) -> None:
    """Overwrite a layer's bias, giving it one if it has none."""
    with torch.no_grad():
        if layer.bias is None:
            layer.bias = nn.Parameter(bias.to(layer.weight.dtype))
        else:
            layer.bias.copy_(bias)

"""Inputs made up from the model itself, for a search without data."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mpq_plugins.errors import ModelError
from mpq_plugins.search.synthetic import check_asked, without_norms
from mpq_plugins.terminal.progress import track

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
CHUNK = 32


def synthetic_inputs(
    model: nn.Module,
    shape: Sequence[int],
    samples: int = 128,
    source: Literal["batch_norm", "noise"] = "batch_norm",
    *,
    steps: int = 100,
    rate: float = 0.1,
    seed: int = 0,
    progress: bool | None = None,
) -> list[Tensor]:
    """Calibration batches for ``search`` without any data.

    shape: of the model's one input for one sample. source: "noise" is standard normal noise; "batch_norm"
    starts there and moves it, by ``steps`` of Adam at ``rate``, to where means and standard deviations in
    front of every batch norm are those that it has seen in training (as ZeroQ does, 2001.00281):
    the sum over batch norms of |mean - mean'|^2 + |std - std'|^2.

    The model is left untouched. Raises ModelError where it has no batch norm with statistics, for
    "batch_norm", and for a number of samples or steps that is none.
    """
    check_asked(samples, steps, source)
    if isinstance(shape, str) or not all(isinstance(size, int) and size > 0 for size in shape):
        raise ModelError(f"the shape of one sample is some numbers, as (3, 32, 32), got {shape!r}")
    generator = torch.Generator().manual_seed(seed)
    batches = list(torch.randn(samples, *shape, generator=generator).split(CHUNK))
    if source == "noise":
        return batches
    model = copy.deepcopy(model).eval().requires_grad_(False)
    norms = [m for m in model.modules() if isinstance(m, NORMS) and m.running_mean is not None]
    if not norms:
        raise without_norms()
    return [_moved(model, norms, batch, steps, rate) for batch in track(batches, "making inputs", progress)]


def _moved(model: nn.Module, norms: Sequence[Any], batch: Tensor, steps: int, rate: float) -> Tensor:
    distances: list[Tensor] = []

    def compare(norm: Any, inputs: tuple[Tensor, ...]) -> None:
        x = inputs[0]
        axes = [axis for axis in range(x.dim()) if axis != 1]
        mean, spread = x.mean(axes), (x.var(axes, unbiased=False) + norm.eps).sqrt()
        wanted = (norm.running_var + norm.eps).sqrt()
        distances.append((mean - norm.running_mean).square().sum() + (spread - wanted).square().sum())

    hooks = [norm.register_forward_pre_hook(compare) for norm in norms]
    x = batch.clone().requires_grad_()
    optimizer = torch.optim.Adam([x], lr=rate)
    with torch.enable_grad():
        for _ in range(steps):
            distances.clear()
            model(x)
            optimizer.zero_grad()
            torch.stack(distances).sum().backward()
            optimizer.step()
    for hook in hooks:
        hook.remove()
    return x.detach()

"""The one torch.ao fake-quantizer of this package: a fixed grid, an observed one, or one that a method trains."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mpq_plugins.training.method import TrainingMethod
from mpq_torch.torch_ao.framework import FakeQuantizeBase
from mpq_torch.torch_ao.grid_observers import OnGrid
from mpq_torch.torch_ao.observers import PO2Observer
from mpq_torch.training.learned_grid import LearnedGrid


class PO2FakeQuantize(FakeQuantizeBase):
    """Rounds half to even and clips to a power-of-two grid, with gradients.

    observer: a class of mpq_torch.torch_ao.observers, which finds the grid from what it sees (or is given one);
        the gradient is straight-through inside its range. The other arguments are its own.
    method: the name or value of a training method instead, which learns the grid. The other arguments
        are then those of LearnedGrid: bits (one, or candidates), signed, ch_axis, weight, seed.
    factory_kwargs: device and dtype that torch.ao's layers pass along.

    ``QConfig(activation=PO2FakeQuantize.with_args(...), weight=...)`` works in prepare_qat_fx. torch.ao's
    enable_observer, disable_observer, enable_fake_quant and disable_fake_quant apply; with the observer
    off the grid stays where it is. Raises what the observer or the method raises.

    >>> weight = PO2FakeQuantize(bits=3, signed=True)
    >>> weight(torch.tensor([-0.9, 0.2, 0.5, 0.3]))
    tensor([-1.0000, 0.2500, 0.5000, 0.2500])
    """

    activation_post_process: OnGrid

    def __init__(
        self,
        observer: type[OnGrid] = PO2Observer,
        factory_kwargs: dict[str, Any] | None = None,
        method: str | TrainingMethod | None = None,
        **arguments: Any,
    ) -> None:
        super().__init__()
        self.activation_post_process = observer(**arguments) if method is None else LearnedGrid(method, **arguments)

    @classmethod
    def hosting(cls, grid: LearnedGrid) -> PO2FakeQuantize:
        """The fake-quantizer around a grid that is learned already."""
        made = cls(observer=PO2Observer)
        made.activation_post_process = grid
        return made

    def forward(self, x: Tensor) -> Tensor:
        observer = self.activation_post_process
        if isinstance(observer, LearnedGrid):
            return observer.quantize(x, self.observer_enabled[0] == 1, self.fake_quant_enabled[0] == 1)
        if self.observer_enabled[0] == 1:
            observer(x.detach())
        if self.fake_quant_enabled[0] == 0:
            return x
        scale, zero_point = observer.calculate_qparams()
        low, high = observer.quant_min, observer.quant_max
        if self.is_per_channel:
            zero_point = zero_point.to(x.device, torch.int32)
            return torch.fake_quantize_per_channel_affine(x, scale.to(x.device), zero_point, self.ch_axis, low, high)
        return torch.fake_quantize_per_tensor_affine(x, scale.item(), int(zero_point.item()), low, high)

    def calculate_qparams(self, **_: Any) -> tuple[Tensor, Tensor]:
        """(scale, zero_point) of the grid."""
        return self.activation_post_process.calculate_qparams()

    def __getattr__(self, name: str) -> Any:
        # torch.ao reads the observer's description off the fake-quantizer
        if name in _DESCRIPTION:
            return getattr(self.activation_post_process, name)
        return super().__getattr__(name)

    @property
    def is_per_channel(self) -> bool:
        """Whether each channel has a step of its own."""
        return self.qscheme in (torch.per_channel_symmetric, torch.per_channel_affine)


_DESCRIPTION = ("dtype", "qscheme", "ch_axis", "quant_min", "quant_max", "eps", "is_dynamic")

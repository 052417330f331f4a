"""A torch.ao fake-quantizer on the power-of-two grid that an observer finds or a recipe gives."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.ao.quantization.fake_quantize import FakeQuantizeBase

from mpq_torch.observers import PO2Observer


class PO2FakeQuantize(FakeQuantizeBase):
    """Observes, rounds half to even and clips to the grid; straight-through gradient inside its range.

    observer: a class of mpq_torch.observers; the other arguments are its own. factory_kwargs: device
    and dtype that torch.ao's layers pass along; not needed, grids are kept as plain numbers. torch.ao's
    enable_observer, disable_observer, enable_fake_quant and disable_fake_quant apply; with the
    observer off the grid stays. Raises what the observer raises.

    >>> weight = PO2FakeQuantize(bits=3, signed=True)
    >>> weight(torch.tensor([-0.9, 0.2, 0.5, 0.3]))
    tensor([-1.0000, 0.2500, 0.5000, 0.2500])
    """

    def __init__(
        self,
        observer: type[torch.nn.Module] = PO2Observer,
        factory_kwargs: dict[str, Any] | None = None,
        **observer_arguments: Any,
    ) -> None:
        super().__init__()
        self.activation_post_process = observer(**observer_arguments)

    def forward(self, x: Tensor) -> Tensor:
        observer = self.activation_post_process
        if self.observer_enabled[0] == 1:
            observer(x.detach())
        if self.fake_quant_enabled[0] == 0:
            return x
        scale, zero_point = observer.calculate_qparams()
        limits = observer.quant_min, observer.quant_max
        if self.is_per_channel:
            return torch.fake_quantize_per_channel_affine(
                x, scale.to(x.device), zero_point.to(x.device, torch.int32), self.ch_axis, *limits
            )
        return torch.fake_quantize_per_tensor_affine(x, scale.item(), zero_point.item(), *limits)

    def calculate_qparams(self) -> tuple[Tensor, Tensor]:
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

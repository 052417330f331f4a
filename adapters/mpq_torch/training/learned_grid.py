"""LearnedGrid: a grid that a method trains, as the observer that a torch.ao fake-quantizer wants to have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mpq_plugins.errors import MPQError
from mpq_plugins.grid import Grid
from mpq_plugins.hardware.op_support import Candidate
from mpq_plugins.thresholds.histogram import Histogram
from mpq_plugins.training.bank import Bank
from mpq_plugins.training.method import Progress, TrainingMethod
from mpq_plugins.training.plan import trainable
from mpq_plugins.training.slot import Observed, Slot
from mpq_torch.torch_ao.grid_observers import OnGrid, zero_point_of
from mpq_torch.training import bank_state
from mpq_torch.training.grid_bank import GridBank


class LearnedGrid(OnGrid):
    """What torch.ao reads (scale, zero point, codes) of the grid at which a bank of one group stands.

    method: name or value of a training method. bits: one width, or candidates for a method that
    searches them. signed: of an activation; None takes an unsigned grid if the first tensor has no value
    below zero. weight: the tensor is a weight; ch_axis: with a step per channel along it. name: of the
    site, for messages. seed: of the method's draws.

    Outside of a search it starts at the first tensor that it sees, which is when its parameters come
    into being: run one batch through a prepared model before building the optimizer, and call
    ``advance`` after each step if the method has a schedule.
    """

    def __init__(
        self,
        method: str | TrainingMethod,
        bits: int | Sequence[int] = 8,
        signed: bool | None = None,
        weight: bool = False,
        ch_axis: int | None = None,
        name: str = "",
        seed: int = 0,
    ) -> None:
        widths = (bits,) if isinstance(bits, int) else tuple(bits)
        if not widths:
            raise MPQError(f"site {name!r} has no candidate bit-widths; give at least one")
        super().__init__(torch.qint8 if weight else torch.quint8, max(widths), ch_axis)
        self.signed = True if weight else signed
        self.widths = widths
        self.weight, self.name, self.seed = weight, name, seed
        self.method = trainable(method)
        self.quantizer: GridBank | None = None

    @classmethod
    def of(cls, quantizer: GridBank) -> LearnedGrid:
        """The observer around a bank of one group."""
        (slot,) = quantizer.plain.slots
        made = cls(quantizer.method, slot.bits, slot.signed, slot.kind == "weight", slot.axis, slot.name)
        made.quantizer = quantizer
        return made

    def quantize(self, x: Tensor, observe: bool | Tensor, quantize: bool | Tensor) -> Tensor:
        """x on the grid of the moment. observe: start, if that is still to do. quantize: False returns x."""
        quantizer = self.quantizer
        if quantizer is None or not quantizer.started:
            if not observe:
                return x
            if quantizer is None:
                signed = bool((x < 0).any()) if self.signed is None else self.signed
                quantizer = self._make(tuple(x.shape) if self.weight else tuple(x.shape[1:]), signed)
            quantizer.start([self._observed(x.detach())])
            quantizer.to(x.device).train(self.training)
        if not quantize:
            return x
        (row,) = quantizer([x] if self.weight else None)
        return quantizer.put(0, x, row)

    def advance(self, progress: Progress) -> None:
        """Follow the schedule."""
        if self.quantizer is not None and self.quantizer.started:
            self.quantizer.advance(progress)

    def forward(self, x: Tensor) -> Tensor:
        self.quantize(x, True, False)
        return x

    def grid(self) -> Grid:
        if self.quantizer is None:
            raise MPQError(f"site {self.name!r} has no grid before any batch; run one through the model first")
        return self.quantizer.harden()[0]

    def codes(self) -> tuple[int, int]:
        kind = self._kind()
        return kind.low, kind.high

    def zero_point(self) -> int:
        return 0 if self.weight else zero_point_of(self._kind())

    def extra_repr(self) -> str:
        return f"{self.method.name}, bits={list(self.widths)}"

    def _kind(self) -> Grid:
        """The grid, or before it is known any of as many bits."""
        if self.quantizer is not None and self.quantizer.started:
            return self.grid()
        return Grid.power_of_two(self.widths[-1], 0, self.signed is not False)

    def _make(self, shape: tuple[int, ...], signed: bool) -> GridBank:
        per_channel = self.is_per_channel
        kinds = tuple(Candidate(b, signed, per_channel) for b in self.widths)
        axis = self.ch_axis if per_channel else None
        slot = Slot(self.name, "weight" if self.weight else "activation", shape, kinds, axis)
        self.quantizer = GridBank(self.method, Bank.of([slot]), self.seed)
        return self.quantizer

    @property
    def is_per_channel(self) -> bool:
        """Whether each channel has a step of its own."""
        return self.qscheme == torch.per_channel_symmetric

    def _observed(self, x: Tensor) -> Observed:
        if self.weight:
            return x.cpu().double().numpy()
        histogram = Histogram()
        histogram.update(x.float().cpu().numpy())
        return histogram

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        extra = state_dict.get(f"{prefix}quantizer._extra_state")
        if extra is not None and self.quantizer is None:
            (_, shape, signed) = bank_state.read(extra)["sites"][0]
            made = self._make(tuple(shape), signed)
            made._load_from_state_dict(state_dict, f"{prefix}quantizer.", *rest)
        super()._load_from_state_dict(state_dict, prefix, *rest)

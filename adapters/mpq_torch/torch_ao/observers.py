"""torch.ao observers that find the power-of-two grid of a tensor from the data, or get it from a recipe."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mpq_plugins.errors import EmptyCalibration, GridError, NonFiniteValues, RecipeError
from mpq_plugins.grid import Grid
from mpq_plugins.thresholds.histogram import Histogram
from mpq_plugins.thresholds.search import METRICS, search_threshold
from mpq_torch.torch_ao.grid_observers import (
    CONTAINER_MAX,
    GridObserver,
    GridPerChannelObserver,
    GridWeightObserver,
    OnGrid,
    zero_point_of,
)

__all__ = [
    "GridObserver",
    "GridPerChannelObserver",
    "GridWeightObserver",
    "PO2Observer",
    "PO2PerChannelWeightObserver",
    "PO2WeightObserver",
    "zero_point_of",
]


class _Searching(OnGrid):
    """An observer with a state of any size, kept in state_dict as the bytes of a JSON text."""

    def __init__(self, dtype: torch.dtype, bits: int, metric: str, ch_axis: int | None = None) -> None:
        super().__init__(dtype, bits, ch_axis)
        if metric not in METRICS:
            raise GridError(f"no metric {metric!r}; there are {', '.join(METRICS)}")
        self.metric = metric
        self._found: Grid | None = None

    def seen(self) -> dict[str, Any]:
        """What has been observed, as plain numbers."""
        raise NotImplementedError

    def see_again(self, state: dict[str, Any]) -> None:
        """Take over what ``seen`` returned."""
        raise NotImplementedError

    def get_extra_state(self) -> Tensor:
        return torch.frombuffer(bytearray(json.dumps(self.seen()).encode()), dtype=torch.uint8).clone()

    def set_extra_state(self, state: Tensor) -> None:
        try:
            read = json.loads(bytes(state.to("cpu", torch.uint8).tolist()))
        except (AttributeError, ValueError) as error:
            raise RecipeError(f"this is no state of a {type(self).__name__}: {error}; calibrate again") from error
        self.see_again(read)


class PO2Observer(_Searching):
    """Finds the power-of-two grid of least error for an activation, from a stream of batches.

    bits: 1 to 8. signed: None takes an unsigned grid if no value below zero has been seen. metric:
    as in ``mpq_plugins.search_threshold``. ``calculate_qparams`` raises EmptyCalibration before any
    batch; NaN or infinity raises NonFiniteValues; a tensor of zeros gets threshold 1.

    The largest code is stored as 255, so that the container itself clips above. An unsigned grid
    behind a ReLU is then exact at every bit-width by prepare_fx and convert_fx alone; a signed grid
    of fewer than 8 bits is not clipped below without the clamp of ``fx.constrain``. Stored values near
    255 need weights of at most 7 bits on x86 processors without VNNI, and in depthwise convolutions
    of more than 100 channels on any x86 (mpq_torch.modules.depthwise).

    >>> observer = PO2Observer(bits=4, signed=False)
    >>> _ = observer(torch.tensor([0.0, 0.4, 0.9]))
    >>> observer.calculate_qparams()
    (tensor([0.0625]), tensor([240]))
    """

    def __init__(self, bits: int = 8, signed: bool | None = None, metric: str = "mse") -> None:
        super().__init__(torch.quint8, bits, metric)
        self.signed = signed
        self.histogram = Histogram()

    def forward(self, x: Tensor) -> Tensor:
        try:
            self.histogram.update(x.detach().float().cpu().numpy())
        except NonFiniteValues as error:
            raise NonFiniteValues(f"an activation of shape {tuple(x.shape)} holds {error}") from None
        self._found = None
        return x

    def grid(self) -> Grid:
        if self._found is None:
            if not self.histogram.count:
                raise EmptyCalibration(
                    "a PO2Observer has seen no data; run calibration batches through the prepared model"
                )
            self._found = search_threshold(self.histogram, self.bits, self._is_signed(), self.metric)
        return self._found

    def codes(self) -> tuple[int, int]:
        kind = Grid.power_of_two(self.bits, 0, self._is_signed())
        return kind.low, kind.high

    def zero_point(self) -> int:
        return CONTAINER_MAX - self.codes()[1]

    def reset_min_max_vals(self) -> None:
        """Forget what has been seen (the name is torch.ao's)."""
        self.histogram = Histogram()
        self._found = None

    def seen(self) -> dict[str, Any]:
        return self.histogram.to_dict()

    def see_again(self, state: dict[str, Any]) -> None:
        self.histogram = Histogram.from_dict(state)
        self._found = None

    def extra_repr(self) -> str:
        return f"bits={self.bits}, signed={self.signed}, metric={self.metric!r}, {self.histogram}"

    def _is_signed(self) -> bool:
        return self.histogram.min < 0 or not self.histogram.count if self.signed is None else self.signed


class PO2WeightObserver(_Searching):
    """Finds the power-of-two grid of least error for a weight: of the tensor, or of each channel.

    The last weight seen counts. Codes of a threshold below the largest weight leave the grid unless
    the weight lies on it before conversion (``fx.constrain``): qint8 clips at 8 bits only.
    Raises as PO2Observer does.

    >>> observer = PO2WeightObserver(bits=3)
    >>> _ = observer(torch.tensor([[-0.9, 0.2], [0.3, 0.5]]))
    >>> observer.calculate_qparams()
    (tensor([0.2500]), tensor([0]))
    """

    def __init__(
        self,
        bits: int = 8,
        per_channel: bool = False,
        ch_axis: int = 0,
        metric: str = "mse",
        narrow: bool = False,
    ) -> None:
        super().__init__(torch.qint8, bits, metric, ch_axis if per_channel else None)
        self.per_channel = per_channel
        self.narrow = narrow

    def forward(self, x: Tensor) -> Tensor:
        weight: np.ndarray = x.detach().float().cpu().numpy()
        axis = self.ch_axis if self.per_channel else None
        self._found = search_threshold(weight, self.bits, True, self.metric, axis, self.narrow)
        return x

    def grid(self) -> Grid:
        if self._found is None:
            raise EmptyCalibration(f"a {type(self).__name__} has seen no weight; call it with one")
        return self._found

    def codes(self) -> tuple[int, int]:
        kind = Grid.power_of_two(self.bits, 0, narrow=self.narrow)
        return kind.low, kind.high

    def reset_min_max_vals(self) -> None:
        """Forget the weight (the name is torch.ao's)."""
        self._found = None

    def seen(self) -> dict[str, Any]:
        return {"exponents": None if self._found is None else list(self._found.exponents)}

    def see_again(self, state: dict[str, Any]) -> None:
        try:
            exponents = state["exponents"]
            axis = self.ch_axis if self.per_channel else None
            self._found = exponents and Grid.power_of_two(self.bits, exponents, True, self.narrow, axis)
        except (KeyError, TypeError, ValueError, GridError) as error:
            raise RecipeError(f"this is no state of a {type(self).__name__}: {error}") from error

    def extra_repr(self) -> str:
        return f"bits={self.bits}, metric={self.metric!r}, {self._found or 'nothing seen'}"


class PO2PerChannelWeightObserver(PO2WeightObserver):
    """PO2WeightObserver per channel. (torchao passes ch_axis only to names with "PerChannel".)"""

    def __init__(self, bits: int = 8, ch_axis: int = 0, metric: str = "mse", narrow: bool = False) -> None:
        super().__init__(bits, True, ch_axis, metric, narrow)

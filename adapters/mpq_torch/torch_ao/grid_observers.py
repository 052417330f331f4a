"""torch.ao observers of grids that a recipe gives; what all observers of this package share.

Activations live in torch.quint8 and weights in torch.qint8, whatever the bits. That container does
not clip below 8 bits: convert_fx keeps scale and zero point and forgets quant_min and quant_max.
``fx.constrain`` therefore moves weights onto their grids and clamps activations before conversion.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from mpq_plugins.errors import GridError
from mpq_plugins.grid import Grid
from mpq_torch.torch_ao.framework import ObserverBase

CONTAINER_BITS = 8
CONTAINER_MAX = 255


def zero_point_of(grid: Grid) -> int:
    """The zero point with which a recipe's activations lie in quint8: the lowest code is stored as 0.

    Codes below the grid are then clipped by the container itself, and stored values are as small as
    can be, which matters to kernels that add products in 16 bits.
    """
    return -grid.low


class OnGrid(ObserverBase):
    """What every observer of this package shows to torch.ao, derived from ``grid()`` and ``zero_point()``."""

    def __init__(self, dtype: torch.dtype, bits: int, ch_axis: int | None = None) -> None:
        if not isinstance(bits, int) or not 1 <= bits <= CONTAINER_BITS:
            raise GridError(f"torch's {dtype} container holds grids of 1 to {CONTAINER_BITS} bits, got {bits!r}")
        super().__init__(dtype=dtype, is_dynamic=False)
        self.bits = bits
        self.ch_axis = -1 if ch_axis is None else ch_axis
        self.eps = float(torch.finfo(torch.float32).tiny)
        if ch_axis is not None:
            self.qscheme = torch.per_channel_symmetric
        elif dtype == torch.qint8:
            self.qscheme = torch.per_tensor_symmetric
        else:
            self.qscheme = torch.per_tensor_affine

    def grid(self) -> Grid:
        """The grid that the tensor gets."""
        raise NotImplementedError

    def zero_point(self) -> int:
        """What is added to a code to store it."""
        return 0

    def codes(self) -> tuple[int, int]:
        """Smallest and largest code, known before any data has been seen."""
        grid = self.grid()
        return grid.low, grid.high

    @property
    def quant_min(self) -> int:
        """Smallest stored value of the grid."""
        return self.codes()[0] + self.zero_point()

    @property
    def quant_max(self) -> int:
        """Largest stored value of the grid."""
        return self.codes()[1] + self.zero_point()

    def calculate_qparams(self, **_: Any) -> tuple[Tensor, Tensor]:
        """(scale, zero_point): the step of the grid, not stretched to 8 bits; [1] or [channels]."""
        steps = torch.tensor(self.grid().steps, dtype=torch.float32)
        return steps, torch.full(steps.shape, self.zero_point(), dtype=torch.int64)

    def forward(self, x: Tensor) -> Tensor:
        return x


class GridObserver(OnGrid):
    """A fixed grid for an activation; looks at no data.

    ``QConfig(activation=GridObserver.with_args(grid=grid), ...)``. zero_point: by default the one of
    ``zero_point_of``; codes plus zero point must lie in 0 .. 255. codes: smallest and largest code that
    may occur, where a clamp leaves fewer than the grid has. Raises GridError on a grid per channel or of
    more than 8 bits.
    """

    def __init__(self, grid: Grid, zero_point: int | None = None, codes: tuple[int, int] | None = None) -> None:
        super().__init__(torch.quint8, grid.bits)
        if grid.axis is not None:
            raise GridError("torch's integer kernels take one step per activation; use a grid without an axis")
        self._grid = grid
        self._codes = (grid.low, grid.high) if codes is None else codes
        self._zero_point = zero_point_of(grid) if zero_point is None else int(zero_point)
        if self.quant_min < 0 or self.quant_max > CONTAINER_MAX:
            raise GridError(
                f"zero point {self._zero_point} puts codes {grid.low} .. {grid.high} outside 0 .. {CONTAINER_MAX}"
            )

    def grid(self) -> Grid:
        return self._grid

    def codes(self) -> tuple[int, int]:
        return self._codes

    def zero_point(self) -> int:
        return self._zero_point

    def extra_repr(self) -> str:
        return f"{self._grid}, zero_point={self._zero_point}"


class GridWeightObserver(OnGrid):
    """A fixed grid for a weight; looks at no data. Raises GridError on an unsigned grid or more than 8 bits."""

    def __init__(self, grid: Grid) -> None:
        super().__init__(torch.qint8, grid.bits, grid.axis)
        if not grid.signed:
            raise GridError("torch's integer kernels take signed weights; use a signed grid")
        self._grid = grid

    def grid(self) -> Grid:
        return self._grid

    def extra_repr(self) -> str:
        return str(self._grid)


class GridPerChannelObserver(GridWeightObserver):
    """GridWeightObserver of a grid with an axis. (torchao passes ch_axis only to names with "PerChannel".)"""

    def __init__(self, grid: Grid) -> None:
        if grid.axis is None:
            raise GridError("a per-channel observer needs a grid with an axis; use GridWeightObserver")
        super().__init__(grid)

"""Slot: one tensor that training puts on a grid, or several that share one."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.errors import MPQError
from mpq_plugins.grid import Grid
from mpq_plugins.hardware.op_support import Candidate
from mpq_plugins.thresholds.histogram import Histogram

Observed = NDArray[Any] | Histogram
"""What a method may look at before it starts: a weight, in the framework's layout, or an activation's values."""


@dataclass(frozen=True)
class Slot:
    """One tensor to quantize while training, and the kinds of grids that it may get.

    name: of the site, or of the group of sites that share the grid.
    shape: of the weight in the framework's layout; of the activation for one sample.
    candidates: in increasing bits, at least one; alike in sign, narrowness and granularity.
    axis: of the channels with a step of their own; None for one step.
    input_axis: of a weight's input channels, where whoever makes the slot knows it; else None.

    Raises MPQError when candidates are missing, out of order, or unlike.

    >>> slot = Slot("fc.weight", "weight", (2, 3), (Candidate(2, True, False), Candidate(4, True, False)))
    >>> slot.bits, slot.low(4), slot.high(4)
    ((2, 4), -8, 7)
    """

    name: str
    kind: Literal["weight", "activation"]
    shape: tuple[int, ...]
    candidates: tuple[Candidate, ...]
    axis: int | None = None
    input_axis: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "candidates", tuple(self.candidates))
        if not self.candidates:
            raise MPQError(f"site {self.name!r} has no candidate bit-widths; give at least one")
        if any(a >= b for a, b in zip(self.bits, self.bits[1:], strict=False)):
            raise MPQError(f"the candidate bit-widths of site {self.name!r} must increase, got {self.bits}")
        kinds = {(c.signed, c.narrow, c.per_channel) for c in self.candidates}
        if len(kinds) > 1 or self.candidates[0].per_channel != (self.axis is not None):
            raise MPQError(f"the candidates of site {self.name!r} must be alike in sign, narrowness and granularity")

    @property
    def bits(self) -> tuple[int, ...]:
        """The candidate bit-widths, increasing."""
        return tuple(c.bits for c in self.candidates)

    @property
    def signed(self) -> bool:
        """Whether codes below zero exist."""
        return self.candidates[0].signed

    @property
    def narrow(self) -> bool:
        """Whether codes are symmetric about zero."""
        return self.candidates[0].narrow

    @property
    def elements(self) -> int:
        """Number of elements, of one sample for an activation."""
        return math.prod(self.shape)

    @property
    def channels(self) -> int | None:
        """Number of channels with a step of their own; None for one step."""
        return None if self.axis is None else self.shape[self.axis]

    @property
    def step_shape(self) -> tuple[int, ...]:
        """Shape of what the method keeps per step: [] or [channels]."""
        return () if self.channels is None else (self.channels,)

    @property
    def other_axes(self) -> tuple[int, ...] | None:
        """The axes of the weight over which a channel extends; None for all of the tensor."""
        return (
            None if self.axis is None else tuple(a for a in range(len(self.shape)) if a != self.axis % len(self.shape))
        )

    def check_candidate(self, bits: int | None) -> None:
        """Raise MPQError unless these bits are a candidate's, or None."""
        if bits is not None and bits not in self.bits:
            raise MPQError(f"site {self.name!r} has the candidates {self.bits}, not {bits} bits")

    def low(self, bits: int) -> int:
        """Smallest code."""
        return self.grid(bits, 1.0).low

    def high(self, bits: int) -> int:
        """Largest code."""
        return self.grid(bits, 1.0).high

    def grid(self, bits: int, step: Any) -> Grid:
        """The grid with this step: one number (for every channel, where there are several), or [channels]."""
        steps = np.broadcast_to(np.asarray(step, dtype=np.float64), self.step_shape)
        return Grid(bits, tuple(np.ravel(steps)), self.signed, self.narrow, self.axis)

    def spread(self, ops: Any, values: Any) -> Any:
        """Values of shape [] or [channels], reshaped to broadcast against the tensor."""
        if self.axis is None:
            return values
        shape = [1] * len(self.shape)
        shape[self.axis] = -1
        return ops.reshape(values, shape)

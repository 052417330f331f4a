"""Capabilities: which grids one op may use on a piece of hardware, and how it computes on them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from mpq_plugins.errors import MPQError, TargetError
from mpq_plugins.grid import MAX_BITS, MIN_BITS, Grid
from mpq_plugins.stored.schema import Schema

OPS = (
    "input",
    "conv1d",
    "conv2d",
    "depthwise_conv1d",
    "depthwise_conv2d",
    "conv_transpose1d",
    "conv_transpose2d",
    "linear",
    "add",
    "mul",
    "concat",
    "relu",
    "relu6",
    "clamp",
    "hardswish",
    "max_pool",
    "avg_pool",
    "global_avg_pool",
    "pad",
    "reshape",
)
"""The words for ops. ``reshape`` is every op that only moves elements (flatten, permute, nearest
upsampling, slicing); a fused block (conv, batch norm, ReLU) has the word of the op that computes.
A target may name further ops of its own, and functions of one element; ``lookup`` stands for
those that it does not name."""

WEIGHTED_OPS = tuple(op for op in OPS if "conv" in op or op == "linear")
"""The ops that own a weight."""

Rounding = Literal["half_even", "half_up", "half_away"]
"""What happens to a value exactly between two codes: to the even code, to the larger, away from zero."""

Granularity = Literal["tensor", "channel"]
"""One step for the whole weight, or one per output channel."""


def as_tuple(value: Any) -> Any:
    plain = isinstance(value, Iterable) and not isinstance(value, str | bytes | dict)
    return tuple(value) if plain else value


def _bits(bits: tuple[int, ...]) -> tuple[int, ...]:
    outside = [b for b in bits if not MIN_BITS <= b <= MAX_BITS]
    if outside:
        raise ValueError(f"bits must be from {MIN_BITS} to {MAX_BITS}")
    return tuple(sorted(set(bits)))


Bits = Annotated[tuple[int, ...], BeforeValidator(as_tuple), AfterValidator(_bits), Field(min_length=1)]


class WeightGrids(Schema):
    """The grids that the weight of an op may use. Weights are always signed.

    bits: the bit-widths, kept sorted. granularity: "tensor", "channel" or both.
    power_of_two: steps must be powers of two. narrow: codes must be symmetric about zero.
    container_bits: the integer type that stores the codes.
    """

    error: ClassVar[type[MPQError]] = TargetError
    bits: Bits = (2, 3, 4, 5, 6, 7, 8)
    granularity: Annotated[tuple[Granularity, ...], BeforeValidator(as_tuple), Field(min_length=1)] = ("tensor",)
    power_of_two: bool = True
    narrow: bool = False
    container_bits: int = Field(default=8, ge=1, le=32)

    def objection(self, grid: Grid, channel_axis: int | None) -> str | None:
        """Why a weight with these output channels may not have the grid; None when it may."""
        if ("tensor" if grid.axis is None else "channel") not in self.granularity:
            return f"it has one step per {' or per '.join(self.granularity)}"
        if grid.axis is not None and grid.axis != channel_axis:
            return f"the output channels lie along axis {channel_axis}"
        if not grid.signed:
            return "weights are signed"
        if self.narrow and not grid.narrow:
            return "weights are narrow"
        return _common_objection(grid, self.bits, self.power_of_two)


class ActivationGrids(Schema):
    """The grids that an op's output may use: per tensor, signed, unsigned or both.

    exponent: that of the threshold, where the kernel fixes it (a sigmoid at 1/256); such a site takes its grid
    whatever bits a user asks for.
    """

    error: ClassVar[type[MPQError]] = TargetError
    bits: Bits = (2, 3, 4, 5, 6, 7, 8)
    signed: bool = True
    unsigned: bool = True
    power_of_two: bool = True
    exponent: int | None = None
    container_bits: int = Field(default=8, ge=1, le=32)

    def objection(self, grid: Grid) -> str | None:
        """Why an output may not have the grid; None when it may."""
        if grid.axis is not None:
            return "activations have one step"
        if not (self.signed if grid.signed else self.unsigned):
            return f"activations are {'unsigned' if grid.signed else 'signed'}"
        if self.exponent is not None and (not grid.is_power_of_two or grid.exponent != self.exponent):
            return f"its kernel fixes the threshold at 2^{self.exponent}"
        return _common_objection(grid, self.bits, self.power_of_two)


def _common_objection(grid: Grid, bits: tuple[int, ...], power_of_two: bool) -> str | None:
    if grid.bits not in bits:
        return f"the bits may be {', '.join(map(str, bits))}"
    if power_of_two and not grid.is_power_of_two:
        return "steps must be powers of two"
    return None


class OpSupport(Schema):
    """What a target says about one op; a field that is None takes the value of the target's ``"*"``.

    weight, activation: grids of the op's weight and of its output.
    rounding: how the op rounds onto the grid of its output.
    bias: what the runtime makes of a bias: "accumulator" rounds it to an integer multiple of
        step_input * step_weight, "float" adds it as it is.
    keeps_input_grid: the op computes on its input's grid, so its inputs and output share one grid.
    """

    error: ClassVar[type[MPQError]] = TargetError
    weight: WeightGrids | None = None
    activation: ActivationGrids | None = None
    rounding: Rounding | None = None
    bias: Literal["accumulator", "float"] | None = None
    keeps_input_grid: bool | None = None


@dataclass(frozen=True)
class Candidate:
    """One kind of grid that a site may get; only the step is open, unless ``exponent``, its threshold's, fixes it.

    >>> Candidate(bits=4, signed=True, per_channel=False).grid(0)
    Grid(bits=4, steps=(0.125,), signed=True, narrow=False, axis=None)
    """

    bits: int
    signed: bool
    per_channel: bool
    narrow: bool = False
    power_of_two: bool = True
    exponent: int | None = None

    def grid(self, exponent: int | Iterable[int], axis: int | None = None) -> Grid:
        """The power-of-two grid of this kind with threshold ``2**exponent`` (one, or one per channel).

        axis: of the channels; needed per channel and refused per tensor (GridError).
        """
        return Grid.power_of_two(self.bits, exponent, self.signed, self.narrow, axis)

"""Workload: one quantized operator as a device runs it, with its geometry and bits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from mpq_plugins.errors import CostError
from mpq_plugins.grid import MAX_BITS

Shape = tuple[int, ...]
Option = tuple[str, Any]


@dataclass(frozen=True)
class Workload:
    """One operator on synthetic tensors; hashable, and plain values in JSON.

    op: in the words of a target (op_support.OPS), or "clip" (an activation of few bits is clipped to
        its grid), "dequantize", or a word that one adapter and its device agree on.
    inputs: shapes of the activations that it reads, each for one sample; output: of what it writes.
        For ops with a weight, images are [channels, height, width] whatever the framework, and features come
        last in a linear; other ops have the framework's own order.
    weight: [out, in / groups, kernel...] of a convolution, [in, out / groups, kernel...] of a
        transposed one, [out, in] of a linear; () where there is none.
    stride, dilation: one number per spatial axis. padding: the same, or "same" or "valid".
    weight_bits, activation_bits: None where the op has no such tensor, or they are still open.
    per_channel: one step per output channel of the weight. batch: samples in one call.
    options: further names and values that the op needs, sorted by name.

    Raises CostError naming the field and its value.

    >>> conv = Workload("conv2d", ((16, 32, 32),), (32, 16, 16), (32, 16, 3, 3), (2, 2), (1, 1))
    >>> conv.macs, conv.columns, conv.positions
    (1179648, 144, 256)
    >>> print(conv.at(4, 8))
    conv2d 16x32x32 -> 32x16x16, weight 32x16x3x3, stride 2x2, padding 1x1, 4-bit weights, 8-bit activations
    """

    op: str
    inputs: tuple[Shape, ...]
    output: Shape
    weight: Shape = ()
    stride: Shape = ()
    padding: Shape | str = ()
    dilation: Shape = ()
    groups: int = 1
    weight_bits: int | None = None
    activation_bits: int | None = None
    per_channel: bool = False
    batch: int = 1
    options: tuple[Option, ...] = ()

    def __post_init__(self) -> None:
        for name in ("inputs", "output", "weight", "stride", "padding", "dilation", "options"):
            object.__setattr__(self, name, _frozen(getattr(self, name)))
        object.__setattr__(self, "options", tuple(sorted(self.options)))
        if not (isinstance(self.op, str) and self.op.strip()):
            raise CostError(f"a workload needs the name of its op, got {self.op!r}")
        for name, shape in (("output", self.output), ("weight", self.weight), *(("an input", s) for s in self.inputs)):
            if not all(isinstance(d, int) and d > 0 for d in shape):
                raise CostError(f"workload {self.op}: the shape of {name} must be positive whole numbers, got {shape}")
        for name in ("weight_bits", "activation_bits"):
            bits = getattr(self, name)
            if bits is not None and not 1 <= bits <= 4 * MAX_BITS:
                raise CostError(f"workload {self.op}: {name} must be from 1 to {4 * MAX_BITS}, got {bits}")
        if self.groups < 1 or self.batch < 1:
            raise CostError(f"workload {self.op}: groups and batch are 1 or more, got {self.groups} and {self.batch}")

    def at(self, weight_bits: int | None, activation_bits: int | None) -> Workload:
        """The same operator at other bits."""
        return replace(self, weight_bits=weight_bits, activation_bits=activation_bits)

    def option(self, name: str, default: Any = None) -> Any:
        """One of the options."""
        return dict(self.options).get(name, default)

    @property
    def transposed(self) -> bool:
        """Whether it is a transposed convolution."""
        return "transpose" in self.op

    @property
    def channels(self) -> int:
        """Output channels of the weight; 0 without a weight."""
        if not self.weight:
            return 0
        return self.weight[1] * self.groups if self.transposed else self.weight[0]

    @property
    def columns(self) -> int:
        """Products that are added up for one output of a convolution or linear (of a transposed one: at most)."""
        if not self.weight:
            return 0
        inputs = self.weight[0] // self.groups if self.transposed else self.weight[1]
        return inputs * math.prod(self.weight[2:])

    @property
    def positions(self) -> int:
        """How often one sample multiplies with each element of the weight."""
        if not self.weight:
            return 0
        if self.op == "linear":
            return math.prod(self.output[:-1])
        return math.prod((self.inputs[0] if self.transposed else self.output)[1:])

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one call."""
        return self.batch * math.prod(self.weight) * self.positions if self.weight else 0

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, without what is at its default; ``from_dict`` takes them back."""
        return {name: value for name, value in asdict(self).items() if value != _DEFAULTS.get(name, _NOTHING)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Workload:
        """The workload of ``to_dict``. Raises CostError naming what it does not know or lacks."""
        try:
            return cls(**values)
        except TypeError as error:
            raise CostError(f"this is no workload: {error}") from None

    def __str__(self) -> str:
        parts = [f"{self.op} {' and '.join(map(_by, self.inputs))} -> {_by(self.output)}"]
        if self.weight:
            parts.append(f"weight {_by(self.weight)}" + (" per channel" if self.per_channel else ""))
        for name in ("stride", "padding", "dilation"):
            value = getattr(self, name)
            if value and (name != "dilation" or set(value) != {1}):
                parts.append(f"{name} {value if isinstance(value, str) else _by(value)}")
        parts += [f"{self.groups} groups"] if self.groups > 1 else []
        parts += [f"{name} {value}" for name, value in self.options]
        parts += [f"{self.weight_bits}-bit weights"] if self.weight_bits else []
        parts += [f"{self.activation_bits}-bit activations"] if self.activation_bits else []
        parts += [f"batch {self.batch}"] if self.batch > 1 else []
        return ", ".join(parts)


_NOTHING = object()
_DEFAULTS = {
    name: f.default for name, f in Workload.__dataclass_fields__.items() if name not in ("op", "inputs", "output")
}


@dataclass(frozen=True)
class ModelWork:
    """What one sample of a model makes a device do, bits still open.

    weights: site -> the workload of each call of its layer. activations: site -> the workloads that
    compute it or work on its grid, beside that of a layer. others: what no site's bits change.
    """

    weights: Mapping[str, tuple[Workload, ...]]
    activations: Mapping[str, tuple[Workload, ...]] = field(default_factory=dict)
    others: tuple[Workload, ...] = ()


def _frozen(value: Any) -> Any:
    return tuple(_frozen(v) for v in value) if isinstance(value, (list, tuple)) else value


def _by(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape)) or "scalar"

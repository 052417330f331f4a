"""One call of a Keras layer, as the rules that make nodes of it see it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mpq_plugins.graph.moving import Part
from mpq_plugins.graph.node import Batch, Shape

ONE = Batch()
Sample = tuple[int, ...]
"""A shape for one sample."""


@dataclass(frozen=True)
class Call:
    """One call of a layer.

    name: of the node that gives its output. owner: of the first call of the same layer, which its weight is named
    after. inputs: the nodes that it reads. in_shapes, shape: of one sample. kernel: the weight, where it is not the
    layer's own. node: Keras' record of the call. index: of the output, where there are several. samples, in_samples:
    the first axis of the output, and of what it reads.
    """

    layer: Any
    node: Any
    name: str
    owner: str
    inputs: tuple[str, ...]
    in_shapes: Sequence[Sample]
    shape: Sample
    kernel: Any = None
    index: int | None = None
    samples: Batch = ONE
    in_samples: tuple[Batch, ...] = ()

    @property
    def kind(self) -> str:
        """The name of the layer's class."""
        return type(self.layer).__name__

    @property
    def parts(self) -> list[Part]:
        """The tensors that it reads."""
        each = zip(self.inputs, self.in_samples, self.in_shapes, strict=True)
        return [Part(name, (samples, *shape)) for name, samples, shape in each]

    def whole(self, shape: Sample | None = None) -> Shape:
        """The shape of the output (or another one) with the batch."""
        return (self.samples, *(self.shape if shape is None else shape))


def array_of(variable: Any) -> Any:
    """A variable as float64."""
    return np.asarray(variable.numpy(), dtype=np.float64)


def weight_of(variable: Any) -> Any:
    """A weight as Node has it: in float32, unless the variable is a float64 one."""
    held = np.asarray(variable.numpy())
    return held if held.dtype == np.float64 else held.astype(np.float32, copy=False)


def samples_of(call: Call) -> Batch:
    """The first axis of the output: what a reshape joins with the samples is counted with them."""
    times = max((samples.times for samples in call.in_samples), default=1)
    symbol = str(getattr(call.layer, "symbol", "")).removeprefix("compat.v1.")
    joins = (symbol == "reshape" or call.kind == "JoinedReshape") and len(call.inputs) > 0
    if joins and not {0, None} & {*call.shape, *call.in_shapes[0]}:
        inside, outside = math.prod(call.in_shapes[0]) * call.in_samples[0].times, math.prod(call.shape)
        return Batch(inside // outside) if inside % outside == 0 else Batch(times)
    return Batch(times)

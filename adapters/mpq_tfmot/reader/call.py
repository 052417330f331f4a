"""One call of a Keras layer, as the rules that make nodes of it see it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mpq_plugins.graph.moving import Part
from mpq_plugins.graph.node import Batch, Shape

Sample = tuple[int, ...]
"""A shape for one sample."""


@dataclass(frozen=True)
class Call:
    """One call of a layer.

    name: of the node that gives its output. owner: of the first call of the same layer, which its weight is named
    after. inputs: the nodes that it reads. in_shapes, shape: of one sample. kernel: the weight, where it is not the
    layer's own. node: Keras' record of the call. index: of the output, where there are several.
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

    @property
    def kind(self) -> str:
        """The name of the layer's class."""
        return type(self.layer).__name__

    @property
    def parts(self) -> list[Part]:
        """The tensors that it reads."""
        return [Part(name, self.whole(shape)) for name, shape in zip(self.inputs, self.in_shapes, strict=True)]

    def whole(self, shape: Sample | None = None) -> Shape:
        """The shape of the output (or another one) with the batch."""
        return (Batch(), *(self.shape if shape is None else shape))


def array_of(variable: Any) -> Any:
    """A variable as float64."""
    return np.asarray(variable.numpy(), dtype=np.float64)

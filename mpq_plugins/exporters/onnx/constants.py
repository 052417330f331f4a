"""The constants of an ONNX graph, each stored once: steps, zero points, codes, sizes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.errors import GridError
from mpq_plugins.exporters.onnx.containers import Container, pack
from mpq_plugins.exporters.onnx.requirements import require

_TYPES = {"float32": "FLOAT"}
"""ONNX's names of types where they are not NumPy's in capitals."""


@dataclass
class Constants:
    """Every method returns the name of an initializer, and makes it if there is none of that name."""

    tensors: dict[str, Any] = field(default_factory=dict)

    def array(self, name: str, values: Any, dtype: Any = np.float32) -> str:
        """An array of float32, int32, int64 or truth values."""
        array = np.asarray(values, dtype)
        return self.raw(name, str(array.dtype), array.shape, array.tobytes())

    def step(self, site: str, step: float) -> str:
        """A step as a float32 scalar. Raises GridError, naming the site, where float32 has no such number."""
        if float(np.float32(step)) != step or step < np.finfo(np.float32).tiny:
            raise GridError(f"{site}: ONNX stores steps in float32, which does not hold {step!r}")
        return self.array(f"step.{step!r}", step)

    def steps(self, site: str, name: str, steps: NDArray[Any], axis: int | None) -> str:
        """The steps of a tensor: a scalar, or one for each channel where the grid has an axis."""
        if axis is None:
            return self.step(site, float(steps[0]))
        for step in np.unique(steps):
            self.step(site, float(step))
        return self.array(name, steps)

    def stored(self, container: Container, code: int) -> str:
        """A code as a scalar of its container; of zero, the zero point."""
        stored = code + container.zero_point
        return self.raw(f"{container.type}.{stored}", container.type, (), pack(np.array(stored), container.type))

    def raw(self, name: str, kind: str, shape: Sequence[int], content: bytes) -> str:
        """A tensor of any type, from its bytes."""
        if name not in self.tensors:
            number = getattr(require("onnx").TensorProto, _TYPES.get(kind, kind.upper()))
            self.tensors[name] = require("onnx.helper").make_tensor(name, number, list(shape), content, raw=True)
        return name

    def among(self, names: Iterable[str]) -> list[Any]:
        """The initializers that have one of the names, in the order in which they were made."""
        wanted = set(names)
        return [tensor for name, tensor in self.tensors.items() if name in wanted]

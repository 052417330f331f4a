"""FrameworkArrays: what an adapter gives the kit, so that the same arithmetic runs in NumPy and in its framework."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mpq_plugins.array_ops.protocol import Array, Ops
from mpq_plugins.errors import MPQError
from mpq_plugins.graph.runner import Runner
from mpq_plugins.plugins import frameworks
from mpq_plugins.registry.adapter import Conforms

Arrays = Mapping[str, Array]
Numbers = dict[str, NDArray[Any]]
Function = Callable[[Arrays], tuple[Array, Arrays]]
"""Takes tensors by name; returns a scalar to differentiate, and whatever else is of interest."""


class FrameworkArrays(Protocol):
    """The module that ``conformance()`` of an adapter returns.

    OPS, RUNNER: of the framework. TARGET: name of a target that the framework runs. SPELLINGS: what records of ops call
    the framework.
    """

    OPS: Ops
    RUNNER: Runner
    TARGET: str
    SPELLINGS: str

    def spelled(self, spelling: str) -> Callable[[NDArray[Any]], NDArray[Any]] | bool | None:
        """What a record's spelling stands for, as a function of arrays.

        False where it should be there and is not; None where spellings mean something in models only.
        """

    def tensor(self, values: Any) -> Array:
        """A float32 tensor."""

    def gradients(self, function: Function, inputs: Mapping[str, NDArray[Any]]) -> tuple[Numbers, Numbers]:
        """The gradients of the function's scalar by input (zeros where it does not depend on one), and its results."""

    def network(self, seed: int) -> tuple[Any, NDArray[np.float32]]:
        """A small float model with a convolution and a linear layer, the same for equal seeds, and inputs for it."""


def arrays_of(name: str) -> Any:
    """What the adapter of this name gives the kit. Raises MPQError where it gives nothing, or is not installed."""
    adapter = frameworks()[name]
    if not isinstance(adapter, Conforms):
        raise MPQError(
            f"the adapter of {name!r} has no conformance(); let it return a module with the functions of "
            "mpq_plugins.testing.framework_arrays.FrameworkArrays"
        )
    return adapter.conformance()


def installed() -> list[str]:
    """The adapters that can be used here and that give the kit something."""
    return [n for n, adapter in frameworks().items() if adapter.available() and isinstance(adapter, Conforms)]

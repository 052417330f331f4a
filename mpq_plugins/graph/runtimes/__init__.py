"""What each runtime does differently, one table each; what a table does not say is exact, rounded once."""

from __future__ import annotations

from functools import cache

from mpq_plugins.graph.runtimes import integers, litert, onnxruntime, torch_kernels
from mpq_plugins.graph.runtimes.runtime import Runtime
from mpq_plugins.targets import Target


@cache
def all_runtimes() -> dict[tuple[str, str], Runtime]:
    """Every runtime by the framework and the engine that a target names."""
    tables = [*torch_kernels.RUNTIMES, *litert.RUNTIMES, *onnxruntime.RUNTIMES]
    return {(table.framework, table.engine): table for table in tables}


def runtime_of(target: Target) -> Runtime:
    """The table of the runtime that a target names; plain integers for one that names none, or one unknown here."""
    if target.runtime is None:
        return integers.PLAIN
    return all_runtimes().get((target.runtime.framework, target.runtime.engine), integers.PLAIN)

"""torch's quantized engines and PT2E, LiteRT's kernels, and onnxruntime."""

from __future__ import annotations

from collections.abc import Callable

from mpq_plugins.graph.runtimes import litert, onnxruntime, torch_kernels
from mpq_plugins.graph.runtimes.runtime import Runtime
from mpq_plugins.plugins.hookspecs import hookimpl


@hookimpl
def mpq_register_runtimes(register: Callable[[Runtime], None]) -> None:
    """Register the tables of mpq_plugins.graph.runtimes."""
    for table in (*torch_kernels.RUNTIMES, *litert.RUNTIMES, *onnxruntime.RUNTIMES):
        register(table)

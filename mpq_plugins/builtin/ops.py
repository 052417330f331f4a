"""The ops of mpq_plugins.graph.ops."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable

from mpq_plugins.graph import ops
from mpq_plugins.graph.op import Op
from mpq_plugins.plugins.hookspecs import hookimpl


@hookimpl
def mpq_register_ops(register: Callable[[Op], None]) -> None:
    """Register every record of the files in that folder."""
    for entry in pkgutil.iter_modules(ops.__path__):
        for op in importlib.import_module(f"{ops.__name__}.{entry.name}").OPS:
            register(op)

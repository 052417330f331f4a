"""ai-edge-litert, the one package behind LiteRT, imported when it is needed: its schema, and its interpreter."""

from __future__ import annotations

import importlib
import importlib.util
from functools import cache
from typing import Any

from mpq_plugins.errors import PluginError
from mpq_plugins.terminal.silence import silenced

INSTALL = "pip install 'mpq-plugins[litert]'"


def installed() -> bool:
    """Whether LiteRT is there; found without importing it."""
    return importlib.util.find_spec("ai_edge_litert") is not None


@cache
def require(module: str) -> Any:
    """A module of ai_edge_litert, or flatbuffers. Raises PluginError, in one sentence, where it is not installed."""
    try:
        with silenced("stderr"):
            return importlib.import_module(module)
    except ImportError as error:
        raise PluginError(f"LiteRT is not installed; install it with: {INSTALL} ({error})") from None


def schema() -> Any:
    """The classes of the flatbuffer."""
    return require("ai_edge_litert.schema_py_generated")

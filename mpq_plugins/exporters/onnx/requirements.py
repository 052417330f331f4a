"""The optional packages behind ONNX, imported when they are needed."""

from __future__ import annotations

import importlib
from typing import Any

from mpq_plugins.errors import PluginError

INSTALL = "pip install 'mpq-plugins[onnx]'"


def require(package: str) -> Any:
    """The imported package. Raises PluginError, in one sentence, where it is not installed."""
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise PluginError(f"{package} is not installed; install it with: {INSTALL} ({error})") from None

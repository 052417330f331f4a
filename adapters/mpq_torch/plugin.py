"""The torch adapter's plug-in: found by this distribution's own entry point. Imports no torch."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from mpq_plugins.errors import PluginError
from mpq_plugins.hookspecs import hookimpl


@dataclass(frozen=True)
class TorchFramework:
    """What the core knows of torch before it is imported."""

    name: str = "torch"
    summary: str = "torch.ao FX graph mode quantization"
    requirement: str = "mpq-plugins[torch]"

    def available(self) -> bool:
        """Whether torch is installed; found without importing it."""
        return importlib.util.find_spec("torch") is not None

    def load(self) -> ModuleType:
        """Import the adapter, ``mpq_torch.fx``. Raises PluginError saying what to install without torch."""
        return self._module("mpq_torch.fx")

    def demo(self) -> ModuleType:
        """Import the demo: ``run()`` yields rows and recipes, ``RUNTIME`` names what runs them."""
        return self._module("mpq_torch.demo")

    def _module(self, name: str) -> ModuleType:
        if not self.available():
            raise PluginError(f"torch is not installed; install it with: pip install '{self.requirement}'")
        return importlib.import_module(name)


@hookimpl
def mpq_register_frameworks(register: Callable[[Any], None]) -> None:
    """Register torch."""
    register(TorchFramework())

"""The torch adapter's plug-in: found by this distribution's own entry point. Imports no torch."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from mpq_plugins.errors import PluginError
from mpq_plugins.hardware.device import Device
from mpq_plugins.hardware.target import Target
from mpq_plugins.hardware.workload import Workload
from mpq_plugins.plugins.hookspecs import hookimpl
from mpq_plugins.registry.adapter import Framework


@dataclass(frozen=True)
class TorchFramework:
    """What the core knows of torch before it is imported."""

    name: str = "torch"
    summary: str = "torch.ao FX graph mode quantization"
    requirement: str = "mpq-plugins[torch]"
    model_suffixes: tuple[str, ...] = (".pt2",)
    export_formats: tuple[str, ...] = ("torch", "onnx", "litert")

    def available(self) -> bool:
        """Whether torch is installed; found without importing it."""
        return importlib.util.find_spec("torch") is not None

    def load(self) -> ModuleType:
        """Import the adapter, ``mpq_torch.fx``. Raises PluginError saying what to install without torch."""
        return self._module("mpq_torch.fx")

    def demo(self) -> ModuleType:
        """Import the demo: ``run()`` yields rows and recipes, ``RUNTIME`` names what runs them."""
        return self._module("mpq_torch.demo")

    def commands(self) -> ModuleType:
        """Import what commands do with a user's model: mpq_plugins.workspace.command_protocol.FrameworkCommands."""
        return self._module("mpq_torch.plugin.commands")

    def conformance(self) -> ModuleType:
        """Import what the conformance kit asks: mpq_plugins.testing.framework_arrays.FrameworkArrays."""
        return self._module("mpq_torch.plugin.conformance")

    def owns(self, model: Any) -> bool:
        """Whether a model is torch's; torch is not imported to find out."""
        return not isinstance(model, type) and any(
            (base.__module__, base.__name__) == ("torch.nn.modules.module", "Module") for base in type(model).__mro__
        )

    def _module(self, name: str) -> ModuleType:
        if not self.available():
            raise PluginError(f"torch is not installed; install it with: pip install '{self.requirement}'")
        return importlib.import_module(name)


@hookimpl
def mpq_register_frameworks(register: Callable[[Framework], None]) -> None:
    """Register torch."""
    register(TorchFramework())


@hookimpl
def mpq_measure_latency(target: Target, workload: Workload) -> float | None:
    """Time torch's own kernels, on targets that run on them, where torch is installed."""
    if not _runs(target):
        return None
    from mpq_torch.latency import torch_device

    return torch_device.seconds(target, workload)


@hookimpl
def mpq_describe_device(target: Target) -> Device | None:
    """This machine with the engine of the target."""
    if not _runs(target):
        return None
    from mpq_torch.latency import torch_device

    return torch_device.describe(target)


def _runs(target: Target) -> bool:
    return target.runtime is not None and target.runtime.framework == "torch" and TorchFramework().available()

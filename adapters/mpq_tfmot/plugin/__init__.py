"""The TF-MOT adapter's plug-in: found by this distribution's own entry point. Imports no TensorFlow."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

from mpq_plugins.errors import PluginError
from mpq_plugins.plugins.hookspecs import hookimpl
from mpq_plugins.registry.adapter import Framework

NEEDED = {"tensorflow": "tensorflow", "tf_keras": "tf_keras", "tensorflow_model_optimization": "TF-MOT"}


@dataclass(frozen=True)
class TfmotFramework:
    """What the core knows of TF-MOT before TensorFlow is imported."""

    name: str = "tfmot"
    summary: str = "TensorFlow Model Optimization on tf_keras, down to LiteRT"
    requirement: str = "mpq-plugins[tfmot]"
    model_suffixes: tuple[str, ...] = (".keras", ".h5")
    export_formats: tuple[str, ...] = ("litert", "onnx")
    environment: Mapping[str, str] = field(
        default_factory=lambda: {"TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}, hash=False
    )

    def available(self) -> bool:
        """Whether TensorFlow, tf_keras and TF-MOT are installed; found without importing them."""
        return not self._missing()

    def load(self) -> ModuleType:
        """Import the adapter, ``mpq_tfmot``. Raises PluginError saying what to install."""
        return self._module("mpq_tfmot")

    def demo(self) -> ModuleType:
        """Import the demo: ``run()`` yields rows and recipes, ``RUNTIME`` names what runs them."""
        return self._module("mpq_tfmot.demo")

    def commands(self) -> ModuleType:
        """Import what commands do with a user's model: mpq_plugins.workspace.command_protocol.FrameworkCommands."""
        return self._module("mpq_tfmot.plugin.commands")

    def conformance(self) -> ModuleType:
        """Import what the conformance kit asks: mpq_plugins.testing.framework_arrays.FrameworkArrays."""
        return self._module("mpq_tfmot.plugin.conformance")

    def owns(self, model: Any) -> bool:
        """Whether a model is Keras', of either generation: the adapter says what to do with a Keras 3 model."""
        return not isinstance(model, type) and any(
            base.__name__ == "Model" and base.__module__.split(".")[0] in ("keras", "tf_keras")
            for base in type(model).__mro__
        )

    def _missing(self) -> list[str]:
        return [words for module, words in NEEDED.items() if importlib.util.find_spec(module) is None]

    def _module(self, name: str) -> ModuleType:
        missing = self._missing()
        if missing:
            raise PluginError(
                f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed; "
                f"install with: pip install '{self.requirement}'"
            )
        return importlib.import_module(name)


@hookimpl
def mpq_register_frameworks(register: Callable[[Framework], None]) -> None:
    """Register tfmot."""
    register(TfmotFramework())

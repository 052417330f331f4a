"""What an adapter of a framework offers (mpq_register_frameworks): the contract of all, and one of each further part.

None of it imports the framework; the modules that ``load``, ``commands``, ``demo`` and ``conformance`` return do.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Protocol, runtime_checkable

from mpq_plugins.errors import PluginError


class Framework(Protocol):
    """What every adapter has. requirement: what to install ("mpq-plugins[torch]")."""

    @property
    def name(self) -> str: ...
    @property
    def summary(self) -> str: ...
    @property
    def requirement(self) -> str: ...
    def available(self) -> bool:
        """Whether the framework is installed."""

    def load(self) -> ModuleType:
        """Import the adapter. Raises PluginError saying what to install."""


@runtime_checkable
class OffersCommands(Protocol):
    """An adapter for commands that take a user's model."""

    def commands(self) -> ModuleType:
        """Import the functions of mpq_plugins.workspace.command_protocol.FrameworkCommands."""


@runtime_checkable
class OwnsModels(Protocol):
    """An adapter that knows the models of its framework."""

    def owns(self, model: Any) -> bool:
        """Whether a model is one of them."""


@runtime_checkable
class ReadsFiles(Protocol):
    """An adapter whose ``commands().load_model`` reads files of models."""

    @property
    def model_suffixes(self) -> tuple[str, ...]:
        """Their suffixes, with the dot."""


@runtime_checkable
class Exports(Protocol):
    """An adapter that writes models for runtimes."""

    @property
    def export_formats(self) -> tuple[str, ...]:
        """The names of ``commands().EXPORTS``."""


@runtime_checkable
class WantsEnvironment(Protocol):
    """An adapter whose framework reads variables of the environment when it is imported."""

    @property
    def environment(self) -> Mapping[str, str]:
        """What they should be, unless they are set."""


@runtime_checkable
class Conforms(Protocol):
    """An adapter that the conformance kit can check."""

    def conformance(self) -> ModuleType:
        """Import the functions of mpq_plugins.testing.framework_arrays.FrameworkArrays."""


@runtime_checkable
class HasDemo(Protocol):
    """An adapter that ``mpq demo`` can show."""

    def demo(self) -> ModuleType:
        """Import ``run()``, which yields (digits.DemoRow, Recipe), and ``RUNTIME``, what runs the models."""


@dataclass(frozen=True)
class PackagedAdapter:
    """An adapter whose parts lie in one package, each where ours have it. Nothing of it is imported before it is asked.

    facade: the module that ``load`` returns. needed: what has to be installed: its modules, and what they are called.
    """

    name: str
    summary: str
    requirement: str
    package: str
    facade: str
    needed: Mapping[str, str] = field(hash=False)
    model_suffixes: tuple[str, ...] = ()
    export_formats: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict, hash=False)

    def available(self) -> bool:
        """Whether all that is needed is installed; found without importing it."""
        return not self._missing()

    def load(self) -> ModuleType:
        """Import the adapter. Raises PluginError saying what to install."""
        return self.module(self.facade)

    def demo(self) -> ModuleType:
        """Import the demo: ``run()`` yields rows and recipes, ``RUNTIME`` names what runs them."""
        return self.module(f"{self.package}.demo")

    def commands(self) -> ModuleType:
        """Import what commands do with a user's model: mpq_plugins.workspace.command_protocol.FrameworkCommands."""
        return self.module(f"{self.package}.plugin.commands")

    def conformance(self) -> ModuleType:
        """Import what the conformance kit asks: mpq_plugins.testing.framework_arrays.FrameworkArrays."""
        return self.module(f"{self.package}.plugin.conformance")

    def module(self, name: str) -> ModuleType:
        """Import a module of the adapter. Raises PluginError saying what to install."""
        missing = self._missing()
        if missing:
            raise PluginError(
                f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed; "
                f"install with: pip install '{self.requirement}'"
            )
        return importlib.import_module(name)

    def _missing(self) -> list[str]:
        return [words for module, words in self.needed.items() if importlib.util.find_spec(module) is None]


def is_instance(model: Any, module: str, name: str) -> bool:
    """Whether a model is of the class of this name, in a module or below it; nothing is imported to find out."""
    bases = () if isinstance(model, type) else type(model).__mro__
    return any(base.__name__ == name and f"{base.__module__}.".startswith(f"{module}.") for base in bases)

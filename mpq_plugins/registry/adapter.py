"""What an adapter of a framework offers (mpq_register_frameworks): the contract of all, and one of each further part.

None of it imports the framework; the modules that ``load``, ``commands``, ``demo`` and ``conformance`` return do.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any, Protocol, runtime_checkable


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

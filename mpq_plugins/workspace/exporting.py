"""Which format a model goes to."""

from __future__ import annotations

from collections.abc import Mapping

from mpq_plugins import registry
from mpq_plugins.errors import PluginError
from mpq_plugins.registry.adapter import Exports
from mpq_plugins.workspace.command_protocol import ExportFormat
from mpq_plugins.workspace.loading import LoadedModel


def export_format(loaded: LoadedModel, name: str) -> ExportFormat:
    """The format of that name for this model. Raises PluginError with those that there are."""
    offered: Mapping[str, ExportFormat] = loaded.commands.EXPORTS
    if name in offered:
        return offered[name]
    formats = ", ".join(offered)
    known = registry.host().frameworks()
    elsewhere = [other for other in known if other != loaded.framework and name in _formats(other)]
    why = f"{name!r} takes {elsewhere[0]} models" if elsewhere else f"there is no format {name!r}"
    raise PluginError(f"{why}, and this is a {loaded.framework} model, which goes to {formats}")


def _formats(framework: str) -> tuple[str, ...]:
    """Formats of another framework; known without importing it."""
    adapter = registry.host().frameworks()[framework]
    return adapter.export_formats if isinstance(adapter, Exports) else ()

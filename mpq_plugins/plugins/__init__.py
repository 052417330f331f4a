"""Plug-ins: the hooks, the host that loads what implements them, and the registered things by name."""

from __future__ import annotations

from mpq_plugins.hardware.known_targets import for_recipe, target, target_of, targets
from mpq_plugins.plugins.plugin_host import (
    PluginHost,
    PluginInfo,
    PluginWarning,
    cost_models,
    frameworks,
    host,
    method,
    methods,
)
from mpq_plugins.registry import moved_modules

__all__ = [
    "PluginHost",
    "PluginInfo",
    "PluginWarning",
    "cost_models",
    "for_recipe",
    "frameworks",
    "host",
    "method",
    "methods",
    "target",
    "target_of",
    "targets",
]

__getattr__ = moved_modules.names_of(__name__)

"""torch's part in running a graph, and the simulation as a torch module."""

from __future__ import annotations

from mpq_plugins.registry import moved_modules

__getattr__ = moved_modules.names_of(__name__)

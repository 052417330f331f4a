"""How a model is called, and what our verbs leave as they found it."""

from __future__ import annotations

from mpq_plugins.registry import moved_modules

__getattr__ = moved_modules.names_of(__name__)

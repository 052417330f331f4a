"""How a model is called, and what our verbs leave as they found it."""

from __future__ import annotations

from mpq_plugins.versions import modules

__getattr__ = modules.names_of(__name__)

"""What few bits cost in accuracy: predicted loss, Fisher information, masks and divergences under one interface."""

from __future__ import annotations

from mpq_plugins.registry import moved_modules

__getattr__ = moved_modules.names_of(__name__)

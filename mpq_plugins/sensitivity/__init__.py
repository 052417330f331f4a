"""What few bits cost in accuracy: predicted loss, Fisher information, masks and divergences under one interface."""

from __future__ import annotations

from mpq_plugins.versions import modules

__getattr__ = modules.names_of(__name__)

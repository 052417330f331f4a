"""Threshold search: bins that fit every power-of-two grid, the errors read off them, steps and shared grids."""

from __future__ import annotations

from mpq_plugins.versions import modules

__getattr__ = modules.names_of(__name__)

"""Threshold search: bins that fit every power-of-two grid, the errors read off them, steps and shared grids."""

from __future__ import annotations

from mpq_plugins.registry import moved_modules

__getattr__ = moved_modules.names_of(__name__)

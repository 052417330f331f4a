"""Rounding: integer codes of least output error (feedback, descent, guard), and biases that make up for them."""

from __future__ import annotations

from mpq_plugins.registry import moved_modules

__getattr__ = moved_modules.names_of(__name__)

"""Which bits every site gets: the allocation within a budget, the Pareto front, and the solver under both."""

from __future__ import annotations

from mpq_plugins.registry import moved_modules

__getattr__ = moved_modules.names_of(__name__)

"""Which bits every site gets: the allocation within a budget, the Pareto front, and the solver under both."""

from __future__ import annotations

from mpq_plugins.versions import modules

__getattr__ = modules.names_of(__name__)

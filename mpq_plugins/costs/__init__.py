"""What a choice of bits costs: budgets, cost models, and tables of latency and energy."""

from __future__ import annotations

from mpq_plugins.costs.budget import Budget
from mpq_plugins.costs.cost_models import CostModel, CostRow, CostTerm
from mpq_plugins.costs.latency_table import LatencyTable
from mpq_plugins.costs.op_table import EnergyTable
from mpq_plugins.registry import moved_modules

__all__ = ["Budget", "CostModel", "CostRow", "CostTerm", "EnergyTable", "LatencyTable"]

__getattr__ = moved_modules.names_of(__name__)

"""mpq-plugins: hardware-friendly mixed-precision quantization for torch.ao and TF Model Optimization.

Names load on first use, so importing the package is quick, and pulls in no framework.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from mpq_plugins import registry

if TYPE_CHECKING:
    from mpq_plugins.budget import Budget
    from mpq_plugins.capabilities import ActivationGrids, Candidate, OpSupport, WeightGrids
    from mpq_plugins.costs import CostModel, CostRow, CostTerm
    from mpq_plugins.errors import (
        AllocationError,
        BudgetError,
        BudgetWarning,
        CalibrationTooLarge,
        CostError,
        EmptyCalibration,
        GridError,
        InfeasibleBudget,
        LoadingError,
        ModelError,
        MPQError,
        NonFiniteValues,
        NothingQuantized,
        OutputError,
        PluginError,
        RecipeError,
        RecipeMismatch,
        TargetError,
        ThresholdError,
        TooLittleMemory,
        UnmatchedName,
        UnsupportedOp,
        VerificationError,
    )
    from mpq_plugins.grid import Grid
    from mpq_plugins.hookspecs import hookimpl
    from mpq_plugins.inventory import Inventory, Site
    from mpq_plugins.latency.device import Device
    from mpq_plugins.latency.op_table import EnergyTable
    from mpq_plugins.latency.workload import Workload
    from mpq_plugins.latency_table import LatencyTable
    from mpq_plugins.plugins import PluginHost, cost_models, frameworks, method, methods, target, targets
    from mpq_plugins.recipe import Recipe
    from mpq_plugins.saturation import PairSaturation
    from mpq_plugins.targets import Runtime, Target
    from mpq_plugins.thresholds import ErrorTable, error_table, search_threshold

__version__ = "0.1.0"

__all__ = [
    "ActivationGrids",
    "AllocationError",
    "Budget",
    "BudgetError",
    "BudgetWarning",
    "CalibrationTooLarge",
    "Candidate",
    "CostError",
    "CostModel",
    "CostRow",
    "CostTerm",
    "Device",
    "EmptyCalibration",
    "EnergyTable",
    "ErrorTable",
    "Grid",
    "GridError",
    "InfeasibleBudget",
    "Inventory",
    "LatencyTable",
    "LoadingError",
    "MPQError",
    "ModelError",
    "NonFiniteValues",
    "NothingQuantized",
    "OpSupport",
    "OutputError",
    "PairSaturation",
    "PluginError",
    "PluginHost",
    "Recipe",
    "RecipeError",
    "RecipeMismatch",
    "Runtime",
    "Site",
    "Target",
    "TargetError",
    "ThresholdError",
    "TooLittleMemory",
    "UnmatchedName",
    "UnsupportedOp",
    "VerificationError",
    "WeightGrids",
    "Workload",
    "cost_models",
    "error_table",
    "frameworks",
    "hookimpl",
    "method",
    "methods",
    "search_threshold",
    "target",
    "targets",
]

_HOMES = {
    "budget": ("Budget",),
    "capabilities": ("ActivationGrids", "Candidate", "OpSupport", "WeightGrids"),
    "costs": ("CostModel", "CostRow", "CostTerm"),
    "grid": ("Grid",),
    "hookspecs": ("hookimpl",),
    "inventory": ("Inventory", "Site"),
    "latency.device": ("Device",),
    "latency.workload": ("Workload",),
    "latency.op_table": ("EnergyTable",),
    "latency_table": ("LatencyTable",),
    "plugins": ("PluginHost", "cost_models", "frameworks", "method", "target"),
    "recipe": ("Recipe",),
    "saturation": ("PairSaturation",),
    "targets": ("Runtime", "Target"),
    "thresholds": ("ErrorTable", "error_table", "search_threshold"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
_CALLABLE_MODULES = ("methods", "targets")


def __getattr__(name: str) -> Any:
    if name in _CALLABLE_MODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = _HOME_OF.get(name, "errors")
    value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def _host() -> Any:
    """The host of plug-ins, imported when one is first asked for."""
    return importlib.import_module("mpq_plugins.plugins").PluginHost()


registry.made_by(_host)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])

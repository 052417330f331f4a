"""mpq-plugins: hardware-friendly mixed-precision quantization for torch.ao and TF Model Optimization.

Names load on first use, so importing the package is quick, and pulls in no framework.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from mpq_plugins import registry
from mpq_plugins.registry import moved_modules
from mpq_plugins.registry.version import __version__ as __version__

if TYPE_CHECKING:
    from mpq_plugins.costs.budget import Budget
    from mpq_plugins.costs.cost_models import CostModel, CostRow, CostTerm
    from mpq_plugins.costs.latency_table import LatencyTable
    from mpq_plugins.costs.op_table import EnergyTable
    from mpq_plugins.errors import (
        AccuracyWarning,
        AllocationError,
        BudgetError,
        BudgetWarning,
        CalibrationTooLarge,
        CalibrationWarning,
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
        ProcessorLimit,
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
    from mpq_plugins.hardware.device import Device
    from mpq_plugins.hardware.op_support import ActivationGrids, Candidate, OpSupport, WeightGrids
    from mpq_plugins.hardware.saturation import PairSaturation
    from mpq_plugins.hardware.target import Runtime, Target
    from mpq_plugins.hardware.workload import Workload
    from mpq_plugins.inventory import Inventory, Site
    from mpq_plugins.plugins import PluginHost, cost_models, frameworks, method, methods, target, targets
    from mpq_plugins.plugins.hookspecs import hookimpl
    from mpq_plugins.recipe.recipe import Recipe
    from mpq_plugins.thresholds.search import ErrorTable, error_table, search_threshold

__all__ = [
    "AccuracyWarning",
    "ActivationGrids",
    "AllocationError",
    "Budget",
    "BudgetError",
    "BudgetWarning",
    "CalibrationTooLarge",
    "CalibrationWarning",
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
    "ProcessorLimit",
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
    "costs.budget": ("Budget",),
    "costs.cost_models": ("CostModel", "CostRow", "CostTerm"),
    "costs.latency_table": ("LatencyTable",),
    "costs.op_table": ("EnergyTable",),
    "grid": ("Grid",),
    "hardware.device": ("Device",),
    "hardware.known_targets": ("target", "targets"),
    "hardware.op_support": ("ActivationGrids", "Candidate", "OpSupport", "WeightGrids"),
    "hardware.saturation": ("PairSaturation",),
    "hardware.target": ("Runtime", "Target"),
    "hardware.workload": ("Workload",),
    "inventory": ("Inventory", "Site"),
    "plugins": ("PluginHost", "cost_models", "frameworks", "method", "methods"),
    "plugins.hookspecs": ("hookimpl",),
    "recipe.recipe": ("Recipe",),
    "thresholds.search": ("ErrorTable", "error_table", "search_threshold"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
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
moved_modules.watch()


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])

"""The built-in cost models, registered through the same hook as anybody's."""

from __future__ import annotations

from collections.abc import Callable

from mpq_plugins.costs.cost_models import COST_MODELS, CostModel
from mpq_plugins.plugins.hookspecs import hookimpl


@hookimpl
def mpq_register_cost_models(register: Callable[[str, CostModel], None]) -> None:
    """Register the cost models that need nothing but the inventory."""
    for name, model in COST_MODELS.items():
        register(name, model)

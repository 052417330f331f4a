"""Recipe: the grid of every site of a model, its JSON file, its table, and what comparing a converted model gives."""

from __future__ import annotations

from mpq_plugins.recipe.recipe import Recipe
from mpq_plugins.recipe.site_grid import SiteGrid
from mpq_plugins.versions import modules

__all__ = ["Recipe", "SiteGrid"]

__getattr__ = modules.names_of(__name__)

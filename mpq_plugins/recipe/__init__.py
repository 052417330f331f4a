"""Recipe: the grid of every site of a model, its JSON file, its table, and what comparing a converted model gives."""

from __future__ import annotations

from mpq_plugins.recipe.recipe import Recipe
from mpq_plugins.recipe.site_grid import SiteGrid
from mpq_plugins.registry import moved_modules

__all__ = ["Recipe", "SiteGrid"]

__getattr__ = moved_modules.names_of(__name__)

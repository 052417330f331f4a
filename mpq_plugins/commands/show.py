"""``mpq show``: a recipe as a table."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mpq_plugins.recipe.recipe import Recipe

WIDE = 150
"""Columns of a terminal that has room for everything; a narrower one gets what matters most."""
MATTERS = ("site", "bits", "threshold", "reason")


def show(
    recipe: Annotated[Path, typer.Argument(help="A recipe, as Recipe.save writes it.")],
) -> None:
    """Print a recipe as a table: the grid of every site, and why.

    Example: mpq show recipe.json
    """
    from mpq_plugins.recipe.recipe import Recipe

    print_recipe(Recipe.load(recipe))


def print_recipe(recipe: Recipe) -> None:
    """The table and the totals; on a terminal the reasons are folded to its width."""
    if not sys.stdout.isatty():
        print(recipe)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from mpq_plugins.recipe import recipe_table

    console = Console()
    shown = [h for h in recipe_table.HEADINGS if console.width >= WIDE or h in MATTERS]
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in shown:
        right = heading in recipe_table.RIGHT
        table.add_column(heading, justify="right" if right else "left", overflow="fold", no_wrap=right)
    for row in recipe_table.rows(recipe.sites):
        cells = dict(zip(recipe_table.HEADINGS, row, strict=True))
        table.add_row(*(Text(cells[heading]) for heading in shown))
    console.print(table)
    print(f"\n{str(recipe).partition(chr(10) * 2)[2]}")

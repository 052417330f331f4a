"""What a search would refuse of a recipe that is written by hand: products that this processor's kernels clip."""

from mpq_plugins import Recipe, plugins


def check_products(recipe: Recipe) -> None:
    """Raise ProcessorLimit where a weight and the widest activation of a recipe saturate on this processor."""
    widest = max((entry.grid for entry in recipe.activations), key=lambda grid: grid.bits)
    for entry in recipe.weights:
        plugins.target(recipe.target).check_products(entry.site, entry.grid, widest)

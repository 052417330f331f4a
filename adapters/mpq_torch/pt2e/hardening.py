"""The recipe at which the training of a graph from prepare_qat_pt2e stands."""

from __future__ import annotations

from dataclasses import replace

from torch import fx

from mpq_plugins.errors import MPQError
from mpq_plugins.grid import Grid
from mpq_plugins.recipe.recipe import Recipe
from mpq_plugins.registry.renamed_arguments import renamed
from mpq_torch.training.learned_grid import LearnedGrid
from mpq_torch.training.search import Search

TRAINED_RECIPE = "mpq_recipe"
"""Entry of a graph module's meta: the recipe whose grids are being learned."""


@renamed(prepared="trained")
def harden(trained: fx.GraphModule | Search) -> Recipe:
    """The recipe with the grids that training has learned; from here on the graph trains at these grids.

    trained: what ``prepare_qat_pt2e`` made with ``RecipeQuantizer(recipe, method)``; or a Search, as for ``fx.harden``.
    Called again it returns the same recipe, which equals that of the start in all but its method and the steps of its
    grids.

    Two ways lead from here to integers. ``pt2e.quantize(model, recipe, example_inputs)`` is exact for every
    model; ``model`` is the float model, whose state_dict takes the entries of the same names from ``trained``.
    ``convert_pt2e(trained)`` gives the same numbers where the model has no batch norms that torchao folds (it
    leaves the biases of the folded layers in float32) and no sums past the 24 bits of a float32.

    Raises MPQError where nothing is trained, or no batch has been run through the graph yet, naming the site;
    NonFiniteValues where training has diverged.
    """
    if isinstance(trained, Search):
        return trained.harden()
    graph = isinstance(trained, fx.GraphModule)
    recipe: Recipe | None = trained.meta.get(TRAINED_RECIPE) if graph else None
    grids = [module for module in trained.modules() if isinstance(module, LearnedGrid)] if graph else []
    if recipe is None or not grids:
        raise MPQError(
            "this graph has no grids that are trained; prepare it by "
            "prepare_qat_pt2e(exported, pt2e.RecipeQuantizer(recipe, method))"
        )
    learned: dict[str, Grid] = {recipe.site(each.name).group or each.name: each.grid() for each in grids}
    sites = [replace(entry, grid=learned.get(entry.group or entry.site, entry.grid)) for entry in recipe.sites]
    for each in grids:
        assert each.quantizer is not None
        each.quantizer.freeze([each.grid()])
    return replace(recipe, sites=tuple(sites), method=grids[0].method.name)

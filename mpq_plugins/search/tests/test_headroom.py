"""Headroom: thresholds raised, channel by channel, until int32 holds the bias; free steps too."""

import numpy as np
import pytest

from mpq_plugins.grid import Grid
from mpq_plugins.inventory import Inventory, Site
from mpq_plugins.recipe.recipe import Recipe
from mpq_plugins.search.headroom import LARGEST_BIAS, with_headroom

SITES = Inventory(
    [
        Site("x", "activation", "input", (3,)),
        Site("fc.weight", "weight", "linear", (2, 3), 6, 0, inputs=("x",)),
    ]
)


@pytest.mark.parametrize("fine", [2.0**-40, 1.3 * 2.0**-40])
def test_only_the_channel_whose_bias_does_not_fit_gets_a_coarser_step(fine):
    grids = {"x": Grid(8, (0.3,)), "fc.weight": Grid(8, (fine, 0.017), axis=0)}
    recipe = Recipe.from_inventory(SITES, grids, "litert-int8", "msqe")
    bias = np.array([2.0, 2.0])
    steps = with_headroom(recipe, SITES, {"fc.weight": bias})["fc.weight"].steps
    assert steps[1] == 0.017
    assert LARGEST_BIAS / 2 < bias[0] / (steps[0] * 0.3) <= LARGEST_BIAS


def test_a_step_that_is_coarse_enough_stays_as_it_is():
    grids = {"x": Grid(8, (0.3,)), "fc.weight": Grid(8, (0.017,))}
    recipe = Recipe.from_inventory(SITES, grids, "litert-int8", "msqe")
    assert with_headroom(recipe, SITES, {"fc.weight": np.array([2.0, -3.0])}) == recipe

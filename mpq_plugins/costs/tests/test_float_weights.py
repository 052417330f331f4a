"""Weights that stay float count 32 bits an element wherever weights count."""

import pytest

from mpq_plugins.costs.cost_models import COST_MODELS, cost_of
from mpq_plugins.grid import Grid
from mpq_plugins.inventory import Inventory, Site
from mpq_plugins.recipe.recipe import Recipe

INVENTORY = Inventory(
    [
        Site("x", "activation", "input", (8,)),
        Site("fc.weight", "weight", "linear", (4, 8), macs=32, channel_axis=0, inputs=("x",)),
    ],
    float_weights={"head": 96},
)


def test_the_cost_models_count_them():
    bits = {"x": 8, "fc.weight": 4}
    assert cost_of(COST_MODELS["weight_bytes"], INVENTORY, bits) == 32 * 4 / 8 + 96 * 4
    assert cost_of(COST_MODELS["average_weight_bits"], INVENTORY, bits) == pytest.approx((32 * 4 + 96 * 32) / 128)


def test_a_recipe_says_them_counts_them_and_keeps_them_in_its_file(tmp_path):
    grids = {"x": Grid.power_of_two(8, 0), "fc.weight": Grid.power_of_two(4, 0)}
    recipe = Recipe.from_inventory(INVENTORY, grids, "generic-po2", "msqe")
    assert recipe.weight_bytes == 32 * 4 / 8 + 96 * 4
    assert recipe.average_weight_bits == pytest.approx((32 * 4 + 96 * 32) / 128)
    assert "in float: head" in str(recipe)
    assert "float weights: 96 elements of 32 bits (head)" in str(recipe)
    recipe.save(tmp_path / "recipe.json")
    assert Recipe.load(tmp_path / "recipe.json") == recipe


def test_the_file_of_a_recipe_without_them_is_what_it_was():
    grids = {"x": Grid.power_of_two(8, 0), "fc.weight": Grid.power_of_two(4, 0)}
    plain = Inventory(INVENTORY.sites)
    assert "floats" not in Recipe.from_inventory(plain, grids, "generic-po2", "msqe").to_json()

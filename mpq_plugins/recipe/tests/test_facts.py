"""What a recipe says beside its grids: as fields, in files of both schemas."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from mpq_plugins import plugins
from mpq_plugins.errors import RecipeError, TargetError
from mpq_plugins.grid import Grid
from mpq_plugins.hardware.target import Target
from mpq_plugins.inventory import Inventory, ModelInput, Site
from mpq_plugins.recipe.float_part import FloatPart
from mpq_plugins.recipe.recipe import Recipe

FIRST = Path(__file__).parent / "schema_1.json"
INVENTORY = Inventory(
    [
        Site("x", "activation", "input", (8,)),
        Site("fc.weight", "weight", "linear", (4, 8), macs=32, channel_axis=0, inputs=("x",)),
    ],
    float_weights={"head": 96},
    float_macs={"head": 96},
    float_reasons={"head": "kept in float", "softmax": "no integer kernel for softmax"},
    inputs=[ModelInput("x", (None, 8)), ModelInput("token", (None, 5), "int64")],
)
GRIDS = {"x": Grid.power_of_two(8, 0), "fc.weight": Grid.power_of_two(4, 0)}
OWN = Target(name="mine", ops={"*": {"weight": {"bits": [4, 8]}, "activation": {"bits": [8]}, "rounding": "half_up"}})


def a_recipe(**rest):
    return Recipe.from_inventory(INVENTORY, GRIDS, OWN, "msqe", predicted={"loss": 0.25}, **rest)


def test_a_recipe_of_an_inventory_says_what_stays_float_why_and_what_the_model_takes():
    recipe = a_recipe()
    assert recipe.floats == (
        FloatPart("head", "kept in float", 96, 96),
        FloatPart("softmax", "no integer kernel for softmax"),
    )
    assert (recipe.float_ops, recipe.float_weights, recipe.macs) == (("head", "softmax"), {"head": 96}, 128)
    assert recipe.inputs == INVENTORY.inputs
    assert "in float: head: kept in float; softmax: no integer kernel for softmax" in str(recipe)
    assert "quantized: 25.0 % of the MACs, 4.0 % of the weight bytes" in str(recipe)


def test_a_file_keeps_every_fact_and_the_target_itself(tmp_path):
    recipe = replace(a_recipe(), measured={"latency_ms": 0.5})
    recipe.save(tmp_path / "recipe.json")
    loaded = Recipe.load(tmp_path / "recipe.json")
    assert loaded == recipe
    assert (loaded.target, loaded.hardware, loaded.predicted) == ("mine", OWN, {"loss": 0.25})
    data = json.loads((tmp_path / "recipe.json").read_text())
    assert data["schema_version"] == 2
    assert data["inputs"]["token"] == {"shape": [None, 5], "dtype": "int64"}
    assert data["floats"]["head"] == {"reason": "kept in float", "macs": 96, "weights": 96}


def test_a_recipe_that_holds_its_target_needs_no_registration():
    assert plugins.target_of(Recipe.from_json(a_recipe().to_json())) == OWN
    with pytest.raises(TargetError, match="there is no target 'mine'"):
        plugins.target_of(replace(a_recipe(), hardware=None))


def test_a_recipe_names_targets_of_ours_and_holds_others():
    generic = plugins.target("generic-po2")
    assert plugins.for_recipe(generic) == "generic-po2"
    changed = generic.model_copy(update={"accumulator_bits": 24})
    assert plugins.for_recipe(changed) == changed


def test_a_target_of_another_name_is_refused():
    with pytest.raises(RecipeError, match="is for target 'yours', and holds target 'mine'"):
        replace(a_recipe(), target="yours")


def test_a_damaged_target_in_a_file_is_named_by_its_field():
    data = json.loads(a_recipe().to_json())
    data["hardware"]["accumulator_bits"] = "many"
    with pytest.raises(RecipeError, match=r"r\.json is damaged: hardware\.accumulator_bits"):
        Recipe.from_json(json.dumps(data), "r.json")


def test_other_grids_drop_what_was_predicted_and_measured():
    changed = replace(a_recipe(), measured={"latency_ms": 0.5}).with_grids({"x": Grid.power_of_two(8, 1)})
    assert (changed.predicted, changed.measured) == ({}, {})


def test_a_stored_recipe_of_schema_1_is_read_and_written_as_schema_2(tmp_path):
    recipe = Recipe.load(FIRST)
    assert recipe.float_ops == ("1",)
    assert recipe.meta == {"framework": "torch 2.13.0"}
    assert (recipe.predicted, recipe.measured) == ({"latency_ms": 0.7}, {"latency_ms": 0.8, "latency_spread_ms": 0.01})
    assert "measured 0.8 ms +- 0.01, predicted 0.7 ms" in str(recipe)
    assert (recipe.hardware, recipe.inputs, recipe.macs) == (None, (), 0)
    recipe.save(tmp_path / "again.json")
    assert Recipe.load(tmp_path / "again.json") == recipe
    assert json.loads((tmp_path / "again.json").read_text())["schema_version"] == 2


def test_float_weights_of_schema_1_become_float_parts():
    data = json.loads(FIRST.read_text()) | {"float_weights": {"head": 12}}
    recipe = Recipe.from_json(json.dumps(data))
    assert recipe.floats == (FloatPart("1"), FloatPart("head", weights=12))


def test_a_field_of_schema_2_is_none_of_schema_1():
    data = json.loads(FIRST.read_text()) | {"predicted": {"loss": 1.0}}
    with pytest.raises(RecipeError, match="predicted: there is no such field"):
        Recipe.from_json(json.dumps(data))

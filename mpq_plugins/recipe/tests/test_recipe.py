"""Recipes: files that say exactly what was decided, and refuse to say anything else."""

from __future__ import annotations

import contextlib
import copy
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpq_plugins import Grid, Inventory, Recipe, RecipeError, RecipeMismatch, Site
from mpq_plugins.recipe.site_grid import SiteGrid

SITES = (
    Site("x", "activation", "input", (3, 8, 8)),
    Site("conv1.weight", "weight", "conv2d", (4, 3, 3, 3), 6912, 0, inputs=("x",)),
    Site("conv1", "activation", "conv2d", (4, 8, 8), signed=False, group="add"),
    Site("add", "activation", "add", (4, 8, 8), signed=False, group="add"),
    Site("fc.weight", "weight", "linear", (10, 4), 40, 0, inputs=("add",)),
)
GRIDS = {
    "x": Grid.power_of_two(8, 1),
    "conv1.weight": Grid.power_of_two(3, [-1, 0, 0, -2], axis=0),
    "conv1": Grid.power_of_two(8, 2, signed=False),
    "add": Grid.power_of_two(8, 2, signed=False),
    "fc.weight": Grid(5, (0.1,), narrow=True),
}
INVENTORY = Inventory(SITES)


def a_recipe(**changes: Any) -> Recipe:
    return Recipe.from_inventory(
        INVENTORY,
        **{
            "grids": GRIDS,
            "target": "torch-x86",
            "method": "msqe",
            "budget": {"average_weight_bits": 4.0},
            "costs": {"average_weight_bits": 3.54, "weight_bytes": 65.5},
            "shadow_prices": {"average_weight_bits": 0.25},
            "reasons": {"fc.weight": "last layer; 4 bits would cost 0.3 more"},
            "meta": {"torch": "2.13.0"},
            **changes,
        },
    )


# --- what it holds --------------------------------------------------------------------------------------


def test_a_recipe_is_a_mapping_of_sites_to_grids_in_the_order_of_the_model() -> None:
    recipe = a_recipe()
    assert dict(recipe) == GRIDS
    assert list(recipe) == [site.name for site in SITES]
    assert (len(recipe), "x" in recipe, "y" in recipe, recipe.get("y")) == (5, True, False, None)


def test_an_unknown_site_is_an_error_that_lists_the_sites() -> None:
    with pytest.raises(RecipeMismatch, match=r"no site 'conv2'; it has x, conv1\.weight"):
        _ = a_recipe()["conv2"]


def test_weight_bits_are_averaged_over_elements() -> None:
    # conv1: 4*3*3*3 = 108 elements of 3 bits; fc: 40 of 5 bits.
    recipe = a_recipe()
    assert recipe.average_weight_bits == (108 * 3 + 40 * 5) / 148
    assert recipe.weight_bytes == (108 * 3 + 40 * 5) / 8
    assert [entry.site for entry in recipe.activations] == ["x", "conv1", "add"]


def test_a_recipe_copies_and_pickles() -> None:
    recipe = a_recipe()
    assert copy.deepcopy(recipe) == pickle.loads(pickle.dumps(recipe)) == recipe


def test_grids_changed_by_hand_say_so_and_drop_costs_that_are_untrue() -> None:
    changed = a_recipe().with_grids({"fc.weight": Grid.power_of_two(8, 0)})
    assert changed["fc.weight"].bits == 8
    assert (changed.site("fc.weight").reason, changed.costs) == ("by hand", {})
    with pytest.raises(RecipeMismatch, match="no site 'fc2'"):
        a_recipe().with_grids({"fc2": Grid.power_of_two(8, 0)})


# --- what it refuses ------------------------------------------------------------------------------------


def test_sites_of_one_group_must_share_a_grid() -> None:
    with pytest.raises(RecipeError, match="sites 'conv1' and 'add' of group 'add' must share one grid"):
        a_recipe(grids={**GRIDS, "add": Grid.power_of_two(4, 2, signed=False)})


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        (Grid.power_of_two(4, [0, 0, 0], axis=0), r"site 'fc.weight': a grid of 3 channels .* shape \(10, 4\)"),
        (Grid.power_of_two(4, [0, 0, 0], axis=2), r"site 'fc.weight': .* axis 2, and its shape is \(10, 4\)"),
    ],
)
def test_a_grid_that_contradicts_the_shape_is_refused_by_site(grid: Grid, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        a_recipe(grids={**GRIDS, "fc.weight": grid})


def test_a_site_twice_is_refused() -> None:
    entry = SiteGrid("x", "activation", "input", (3,), Grid.power_of_two(8, 0))
    with pytest.raises(RecipeError, match="sites occur twice: x"):
        Recipe((entry, entry), "generic-po2", "msqe")


def test_costs_that_are_not_finite_are_refused() -> None:
    with pytest.raises(RecipeError, match="costs must be finite numbers, got weight_bytes: nan"):
        a_recipe(costs={"weight_bytes": float("nan")})


def test_every_site_of_the_model_needs_a_grid() -> None:
    with pytest.raises(RecipeMismatch, match="1 site without a grid in the recipe: x"):
        a_recipe(grids={name: grid for name, grid in GRIDS.items() if name != "x"})


# --- fitting a model --------------------------------------------------------------------------------------


def test_a_recipe_fits_the_model_that_it_was_made_for() -> None:
    a_recipe().check_fits(INVENTORY)


def test_missing_extra_and_mis_shaped_sites_are_named() -> None:
    other = Inventory(
        [
            SITES[0],
            Site("conv1.weight", "weight", "conv2d", (8, 3, 3, 3), 1, 0),
            SITES[2],
            SITES[3],
            Site("fc2.weight", "weight", "linear", (10, 8), 80, 0),
        ]
    )
    with pytest.raises(RecipeMismatch) as caught:
        a_recipe().check_fits(other)
    message = str(caught.value)
    assert "1 site without a grid in the recipe: fc2.weight" in message
    assert "1 site that the model does not have: fc.weight" in message
    assert "conv1.weight (weight (4, 3, 3, 3) in the recipe, weight (8, 3, 3, 3) in the model)" in message


def test_a_long_list_of_sites_is_cut_and_counted() -> None:
    many = Inventory([*SITES, *(Site(f"new{i}", "activation", "add", (3,)) for i in range(30))])
    with pytest.raises(RecipeMismatch, match=r"30 sites without a grid in the recipe: new0, .*new7 and 22 more"):
        a_recipe().check_fits(many)


# --- files ------------------------------------------------------------------------------------------------


def test_a_file_gives_back_the_recipe_exactly_and_the_same_bytes(tmp_path: Path) -> None:
    first, second = tmp_path / "a.json", tmp_path / "b.json"
    a_recipe().save(first)
    loaded = Recipe.load(first)
    loaded.save(second)
    assert loaded == a_recipe()
    assert first.read_bytes() == second.read_bytes()


steps = st.floats(min_value=1e-30, max_value=1e30)
exponents = st.integers(-100, 100)


@st.composite
def grids(draw: Callable[..., Any]) -> Grid:
    bits, signed = draw(st.integers(2, 16)), draw(st.booleans())
    narrow = signed and draw(st.booleans())
    axis = draw(st.sampled_from([None, 0]))
    count = 1 if axis is None else 3
    if draw(st.booleans()):
        found = draw(st.lists(exponents, min_size=count, max_size=count))
        return Grid.power_of_two(bits, found, signed, narrow, axis)
    return Grid(bits, tuple(draw(st.lists(steps, min_size=count, max_size=count))), signed, narrow, axis)


@settings(max_examples=200, deadline=None)
@given(
    grids(), st.text(max_size=20), st.text(min_size=1, max_size=20), st.floats(allow_nan=False, allow_infinity=False)
)
def test_every_grid_name_and_number_round_trips(grid: Grid, reason: str, name: str, cost: float) -> None:
    entry = SiteGrid(name, "weight", "linear", (3, 2), grid, None, reason)
    recipe = Recipe((entry,), "generic-po2", "msqe", costs={"x": cost}, meta={"note": reason})
    again = Recipe.from_json(recipe.to_json().encode())
    assert again == recipe
    assert again[name].steps == grid.steps


def test_the_file_is_made_for_reading() -> None:
    lines = a_recipe().to_json().splitlines()
    assert '"grid": {"bits": 3, "signed": true, "axis": 0, "exponents": [-1, 0, 0, -2]}' in " ".join(lines)
    assert '  "budget": {"average_weight_bits": 4.0},' in lines


def test_saving_replaces_the_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "recipe.json"
    path.write_text("old")
    a_recipe().save(path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["recipe.json"]
    assert Recipe.load(path) == a_recipe()
    (tmp_path / "plain").write_text("")
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_a_save_that_fails_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "recipe.json"
    a_recipe().save(path)
    before = path.read_bytes()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(RecipeError, match=r"cannot write the recipe .*recipe\.json: No space left"):
        a_recipe(method="other").save(path)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["recipe.json"]


def test_a_file_that_cannot_be_read_or_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"cannot read the recipe .*none\.json: No such file"):
        Recipe.load(tmp_path / "none.json")
    with pytest.raises(RecipeError, match=r"cannot write the recipe .*: No such file or directory"):
        a_recipe().save(tmp_path / "no" / "recipe.json")


# --- damaged files ------------------------------------------------------------------------------------------


def edited(change: Callable[[dict[str, Any]], Any]) -> str:
    data = json.loads(a_recipe().to_json())
    change(data)
    return json.dumps(data)


def fc(data: dict[str, Any]) -> dict[str, Any]:
    return data["sites"]["fc.weight"]  # type: ignore[no-any-return]


DAMAGE: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "no target": (lambda d: d.pop("target"), "target: this field is missing"),
    "no grid": (lambda d: fc(d).pop("grid"), r"sites\.fc\.weight\.grid: this field is missing"),
    "bits as text": (lambda d: fc(d)["grid"].update(bits="4"), r"sites\.fc\.weight\.grid\.bits: .* got '4'"),
    "bits of nobody": (lambda d: fc(d)["grid"].update(bits=99), r"sites\.fc\.weight\.grid: bits must be from 1 to 16"),
    "an unknown field": (lambda d: fc(d).update(colour=1), r"sites\.fc\.weight\.colour: there is no such field"),
    "an unknown kind": (lambda d: fc(d).update(kind="bias"), r"sites\.fc\.weight\.kind: .* got 'bias'"),
    "two scales": (lambda d: fc(d)["grid"].update(exponents=[0]), "give exponents or steps, one of the two"),
    "no scale": (lambda d: fc(d)["grid"].pop("steps"), "give exponents or steps, one of the two"),
    "an empty scale": (lambda d: fc(d)["grid"].update(steps=[]), "at least one step"),
    "a huge exponent": (lambda d: d["sites"]["x"]["grid"].update(exponents=[9999]), r"sites\.x\.grid\.exponents\.0"),
    "a negative step": (lambda d: fc(d)["grid"].update(steps=[-1.0]), "step must be positive"),
    "an infinite step": (lambda d: fc(d)["grid"].update(steps=[float("inf")]), r"grid\.steps\.0"),
    "another shape": (
        lambda d: d["sites"]["conv1.weight"].update(shape=[5, 3, 3, 3]),
        r"site 'conv1\.weight': a grid of 4 channels does not fit axis 0 of shape \(5, 3, 3, 3\)",
    ),
    "a negative shape": (lambda d: fc(d).update(shape=[-1]), r"sites\.fc\.weight\.shape\.0"),
    "a torn group": (lambda d: d["sites"]["add"]["grid"].update(bits=4, exponents=[2]), "must share one grid"),
    "a cost as text": (lambda d: d["costs"].update(weight_bytes="12"), r"costs\.weight_bytes: .* got '12'"),
    "a cost that is no number": (lambda d: d["costs"].update(weight_bytes=float("nan")), r"costs\.weight_bytes"),
    "sites as a list": (lambda d: d.update(sites=[]), r"sites: .* got \[\]"),
    "no version": (lambda d: d.pop("schema_version"), "schema_version: this field is missing"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_file_is_refused_by_file_and_field(case: str) -> None:
    change, message = DAMAGE[case]
    with pytest.raises(RecipeError, match=rf"r\.json is damaged: .*{message}"):
        Recipe.from_json(edited(change), "r.json")


@pytest.mark.parametrize("text", ["", "{", '{"format": "mpq-recipe"', "\x00\x01", '{"format": 1, "format": 2}'])
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(RecipeError, match=r"r\.json is damaged"):
        Recipe.from_json(text, "r.json")


@pytest.mark.parametrize("text", ["[]", "null", "3", "{}", '{"format": "onnx"}'])
def test_json_of_something_else_is_refused(text: str) -> None:
    with pytest.raises(RecipeError, match=r"r\.json is no recipe"):
        Recipe.from_json(text, "r.json")


def test_bytes_that_are_no_text_are_refused() -> None:
    with pytest.raises(RecipeError, match=r"r\.json is damaged"):
        Recipe.from_json(b"\xff\xfe{\x00\x80", "r.json")


def test_a_newer_file_is_refused_by_its_version() -> None:
    text = edited(lambda d: d.update(schema_version=3, sites="of another kind"))
    with pytest.raises(RecipeError, match=r"r\.json has schema 3, .* reads 2; upgrade mpq-plugins"):
        Recipe.from_json(text, "r.json")


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_file_cut_anywhere_or_with_a_byte_changed_loads_or_raises_our_error(data: st.DataObject) -> None:
    raw = bytearray(a_recipe().to_json().encode())
    if data.draw(st.booleans()):
        raw = raw[: data.draw(st.integers(0, len(raw) - 2))]
    else:
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(RecipeError):
        Recipe.from_json(bytes(raw))


# --- the table ----------------------------------------------------------------------------------------------


def test_a_recipe_prints_as_an_aligned_table_with_totals_and_budget() -> None:
    lines = str(a_recipe()).splitlines()
    assert lines[0].split() == ["site", "kind", "op", "shape", "bits", "codes", "threshold", "elements", "reason"]
    starts = [lines[0].index(heading) for heading in ("kind", "op", "shape", "codes", "threshold")]
    cells = [[line[start:].split("  ")[0].strip() for start in starts] for line in lines[2:7]]
    assert cells[0] == ["activation", "input", "3 x 8 x 8", "-128..127", "2^1"]
    assert cells[1] == ["weight", "conv2d", "4 x 3 x 3 x 3", "-4..3", "2^-2..2^0 (4 channels)"]
    assert cells[2] == ["activation", "conv2d", "4 x 8 x 8", "0..255", "2^2"]
    assert cells[4] == ["weight", "linear", "10 x 4", "-15..15", "1.6"]
    assert lines[3].endswith(" 108")
    assert lines[6].endswith(" 40  last layer; 4 bits would cost 0.3 more")
    assert "weights: 148 elements, 3.541 bits on average, 65.5 bytes" in lines
    assert "average_weight_bits: 3.54 of at most 4 (88.5 %), shadow price 0.25" in lines
    assert "weight_bytes: 65.5" in lines


def test_repr_is_short() -> None:
    assert repr(a_recipe()) == "Recipe(5 sites, target='torch-x86', method='msqe', average_weight_bits=3.541)"

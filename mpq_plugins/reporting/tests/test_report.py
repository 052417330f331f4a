"""The report: one self-contained page that says what the recipe and its details say, and what it leaves out."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from mpq_plugins import Grid, OutputError, Recipe, RecipeError, RecipeMismatch
from mpq_plugins.costs.cost_models import COST_MODELS, cost_of
from mpq_plugins.inventory import Inventory, Site
from mpq_plugins.reporting.charts import Column, Line, columns, group_ticks, lines, log_place
from mpq_plugins.reporting.cost_shares import shares
from mpq_plugins.reporting.details import Details, ErrorCurve, Verified
from mpq_plugins.reporting.front import Front
from mpq_plugins.reporting.page import page
from mpq_plugins.reporting.signal_noise import SignalToNoise

VOID = {"meta", "link", "br", "wbr"}
HOSTILE = 'conv1<script>alert("1")</script>'

INVENTORY = Inventory(
    [
        Site("x", "activation", "input", (3, 4, 4), signed=True),
        Site(f"{HOSTILE}.weight", "weight", "conv2d", (8, 3, 3, 3), 3456, 0, inputs=("x",)),
        Site(HOSTILE, "activation", "conv2d", (8, 4, 4), signed=False, inputs=("x",)),
        Site("fc.weight", "weight", "linear", (5, 8), 40, 0, inputs=(HOSTILE,)),
        Site("fc", "activation", "linear", (5,), inputs=(HOSTILE,)),
    ],
    live=[["x", HOSTILE], [HOSTILE, "fc"]],
)
BITS = {"x": 8, f"{HOSTILE}.weight": 4, HOSTILE: 8, "fc.weight": 6, "fc": 8}
GRIDS = {
    site.name: Grid.power_of_two(BITS[site.name], -1, signed=site.signed or site.kind == "weight") for site in INVENTORY
}


def recipe() -> Recipe:
    return Recipe.from_inventory(
        INVENTORY,
        GRIDS,
        "generic-po2",
        "msqe",
        {"fc.weight": "6 bits: 7 would lower the loss by 1e-05, less than the 2e-05 that 5 bytes save elsewhere"},
        budget={"weight_bytes": 150.0},
        costs={name: cost_of(model, INVENTORY, BITS) for name, model in COST_MODELS.items()},
        shadow_prices={"weight_bytes": 0.0125},
    )


def details() -> Details:
    curve = ErrorCurve(offsets=[-1, 0, 1], errors={4: [0.3, 0.1, 0.2], 6: [0.2, 0.01, 0.05], 8: [0.1, 0.001, 0.002]})
    return Details(
        sites=dict(BITS),
        samples=32,
        inventory=INVENTORY,
        losses={name: {4: 0.5, 6: 0.25, 8: 0.125} if name.endswith("weight") else {8: 0.0625} for name in BITS},
        curves=dict.fromkeys(BITS, curve),
        signal_to_noise={"x": 40.0, HOSTILE: 30.5, "fc": 21.25},
        costs={name: shares(model, INVENTORY, BITS) for name, model in COST_MODELS.items()},
        units={name: model.unit for name, model in COST_MODELS.items()},
        verified=Verified(exact=True, text="exact: all 160 output values are equal", samples=32),
    )


def front() -> Front:
    cheap = Recipe.from_inventory(INVENTORY, GRIDS, "generic-po2", "msqe", costs={"weight_bytes": 100.0})
    dear = Recipe.from_inventory(INVENTORY, GRIDS, "generic-po2", "msqe", costs={"weight_bytes": 200.0})
    return Front.of("weight_bytes", [(cheap, 2.0), (dear, 0.5)], ["a.json", "b.json"])


class Page(HTMLParser):
    """A page taken apart; fails on a tag that is not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.words: list[str] = []
        self.tags: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        self.ids += [value or "" for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())


FULL = page(recipe(), details(), front())
BARE = page(recipe())


@pytest.mark.parametrize("made", [FULL, BARE], ids=["full", "bare"])
def test_the_page_is_well_formed_and_its_anchors_resolve(made: tuple[str, list[str]]) -> None:
    found = Page(made[0])
    assert made[0].startswith("<!doctype html>\n<html lang=")
    assert len(set(found.ids)) == len(found.ids)
    targets = [value.removeprefix("#") for _, name, value in found.attributes if name == "href" and value[0] == "#"]
    assert len(targets) >= 4
    referred = [value for _, name, value in found.attributes if name == "aria-labelledby"]
    assert set(targets) | set(referred) <= set(found.ids)


@pytest.mark.parametrize("made", [FULL, BARE], ids=["full", "bare"])
def test_the_page_refers_to_nothing_outside_itself(made: tuple[str, list[str]]) -> None:
    found = Page(made[0])
    assert not {"img", "iframe", "object", "embed", "video", "audio", "base", "form"} & set(found.tags)
    for tag, name, value in found.attributes:
        assert name not in ("src", "srcset", "action", "data", "poster", "xlink:href"), (tag, name)
        assert name != "href" or value.startswith("#") or value == "data:,", value
    assert re.findall(r"(?:https?:)?//[a-z]", made[0]) == []
    assert re.findall(r"url\(|@import|fetch\(|XMLHttpRequest|import\(", made[0]) == []
    policy = next(value for _, name, value in found.attributes if name == "content" and "src" in value)
    assert policy.startswith("default-src 'none';")


def test_names_of_sites_are_text_and_never_markup() -> None:
    assert Page(FULL[0]).tags.count("script") == 1
    assert HOSTILE in Page(FULL[0]).text


def test_every_picture_says_what_it_shows_and_every_table_has_a_caption() -> None:
    found = Page(FULL[0])
    pictures = [tag for tag, name, value in found.attributes if tag == "svg" and name == "aria-label" and value]
    assert len(pictures) == found.tags.count("svg") == 1 + 3 + 5 + 1 + 1
    assert found.tags.count("caption") == found.tags.count("table") == 6


def test_a_full_report_leaves_out_only_what_nobody_gave() -> None:
    assert FULL[1] == ["latency by layer: the search was given no latency table (--latency)"]


def test_a_recipe_alone_says_which_parts_are_left_out_and_how_to_get_them() -> None:
    text, left_out = BARE
    titles = [reason.split(":")[0] for reason in left_out]
    assert titles == [
        "bit operations and latency by layer",
        "Error over thresholds",
        "Sensitivity against bits",
        "Signal to noise by layer",
        "Pareto front",
        "Verification",
    ]
    assert all("--details" in reason or "--pareto" in reason for reason in left_out)
    assert {"asked", "bits", "costs", "reasons", "missing"} <= set(Page(text).ids)
    assert not {"errors", "sensitivity", "noise", "front", "verification"} & set(Page(text).ids)


def test_the_budget_its_use_and_the_worth_of_one_more_unit_are_there() -> None:
    said = Page(FULL[0]).text
    assert "weight bytes of at most 150" in said
    assert "138" in said  # 216 weights at 4 bits and 40 at 6: 108 + 30 bytes
    assert "92.0 %" in said
    assert "0.0125 less loss" in said
    assert "7 would lower the loss by 1e-05" in said


def test_the_predicted_loss_is_the_sum_over_sites() -> None:
    assert "The predicted rise of the loss is 0.9375" in Page(FULL[0]).text  # 0.5 + 0.25 + 3 * 0.0625


def test_the_chosen_bits_are_framed() -> None:
    framed = re.findall(r'<td class="number chosen" data-sort="([0-9.]+)"', FULL[0])
    assert framed == ["0.5", "0.25"]


def test_the_worst_layer_is_named() -> None:
    assert "The lowest is fc with 21.2 dB" in Page(FULL[0]).text


def test_costs_by_layer_add_up_to_the_cost() -> None:
    for name, model in COST_MODELS.items():
        assert sum(shares(model, INVENTORY, BITS).values()) == pytest.approx(cost_of(model, INVENTORY, BITS)), name


def test_the_activations_of_the_fullest_moment_stand_out() -> None:
    figures = re.findall(r'class="(activation(?: rest)?)"><title>|<title>(x|fc): [0-9.]+(?: \(|<)', FULL[0])
    assert figures
    assert "fc: 5<" in FULL[0]  # not in memory at the fullest moment, so without a share
    assert "x: 48 (27.3 %)" in FULL[0]  # 48 of 48 + 128 bytes


def test_details_of_another_recipe_are_refused_with_the_sites_that_differ() -> None:
    other = details().model_copy(update={"sites": {**BITS, "fc.weight": 5}})
    with pytest.raises(RecipeMismatch, match=r"differ at fc\.weight; make them anew"):
        page(recipe(), other)


def test_a_front_of_another_target_is_refused() -> None:
    other = front().model_copy(update={"target": "litert-po2"})
    with pytest.raises(RecipeMismatch, match="of target litert-po2 and method msqe, and the recipe of generic-po2"):
        page(recipe(), None, other)


def test_details_and_fronts_survive_their_files(tmp_path: Path) -> None:
    details().save(tmp_path / "details.json")
    front().save(tmp_path / "pareto.json")
    assert Details.load(tmp_path / "details.json").model_dump(mode="json") == details().model_dump(mode="json")
    assert Details.load(tmp_path / "details.json").inventory == INVENTORY
    assert Front.load(tmp_path / "pareto.json") == front()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", "is damaged"),
        ("[1]", 'is no details file: it should be a JSON object with "format": "mpq-details"'),
        (
            '{"format": "mpq-details", "schema_version": 2}',
            "has schema 2, and this version of mpq-plugins reads 1",
        ),
        ('{"format": "mpq-details", "schema_version": 1}', "sites: this field is missing"),
    ],
    ids=["cut", "foreign", "newer", "incomplete"],
)
def test_a_damaged_details_file_is_named(tmp_path: Path, text: str, sentence: str) -> None:
    (tmp_path / "details.json").write_text(text)
    with pytest.raises(RecipeError, match=re.escape(sentence)):
        Details.load(tmp_path / "details.json")


def test_a_missing_file_and_a_missing_directory_are_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"cannot read the details file .*none.json: No such file"):
        Details.load(tmp_path / "none.json")
    with pytest.raises(OutputError, match=r"cannot write .*nowhere"):
        front().save(tmp_path / "nowhere" / "pareto.json")


def test_columns_stand_on_the_line_or_hang_from_it() -> None:
    drawn = columns("c", [Column(0.5, "a", "weight"), Column(1.0, "b", "activation", below=True)], [], split=0.5)
    assert 'x="6" width="38" y="25" height="25" class="weight"' in drawn  # up from the middle, half of the way
    assert 'x="56" width="38" y="50" height="50" class="activation"' in drawn  # down from it, all the way


def test_lines_go_through_their_points_and_the_mark_has_its_dot() -> None:
    drawn = lines("l", [Line([(0.0, 0.0), (0.5, 1.0), (1.0, 0.25)], "a", "weight", 1)], [], [], mark=0.5)
    assert 'd="M0 100L50 0L100 75"' in drawn
    assert 'd="M50 0h0"' in drawn
    assert 'd="M50 0V100" class="mark"' in drawn


def test_a_logarithmic_axis_puts_the_geometric_mean_in_the_middle() -> None:
    assert log_place(10.0, 1.0, 100.0) == pytest.approx(0.5)
    assert [log_place(value, 1.0, 100.0) for value in (0.1, 1000.0)] == [0.0, 1.0]
    assert log_place(5.0, 5.0, 5.0) == 0.5


def test_layers_of_flat_names_are_numbered_below_the_axis() -> None:
    names = [f"conv2d_{i}" for i in range(40)]
    assert [label for _, label in group_ticks(names)] == ["1", "6", "11", "16", "21", "26", "31", "36"]


def test_noise_adds_up_over_batches_and_equal_tensors_are_capped() -> None:
    noise = SignalToNoise()
    noise.add("a", [3.0], [3.0])
    noise.add("a", [4.0], [4.5])
    noise.add("same", [1.0], [1.0])
    noise.add("dead", [0.0], [1.0])
    assert noise.decibels() == {"a": pytest.approx(20.0), "same": 200.0, "dead": 0.0}  # 25 / 0.25

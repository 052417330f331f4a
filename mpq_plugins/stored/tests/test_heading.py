"""A JSON file of ours is told from others by its heading, and every other kind of text is refused by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar

import pytest

from mpq_plugins.errors import CostError, MPQError
from mpq_plugins.stored.heading import Heading
from mpq_plugins.stored.schema import Schema

CARDS = Heading("mpq-cards", 3, "card", CostError, "draw another")
BY_HAND = Heading(None, 3, "card", CostError)


class Card(Schema):
    error: ClassVar[type[MPQError]] = CostError
    format: str = "mpq-cards"
    schema_version: int = 3
    suit: str


def test_a_file_with_the_heading_is_read_and_keeps_its_fields(tmp_path: Path) -> None:
    (tmp_path / "card.json").write_text(json.dumps({**CARDS.fields, "suit": "hearts"}))
    assert CARDS.load(Card, tmp_path / "card.json").suit == "hearts"


def test_a_file_written_by_hand_needs_no_heading() -> None:
    assert BY_HAND.parse('{"suit": "spades"}', "card.json") == {"suit": "spades"}


@pytest.mark.parametrize("text", ["[]", "3", "{}", '{"format": "mpq-recipe", "schema_version": 3}'])
def test_json_of_something_else_is_no_such_file(text: str) -> None:
    with pytest.raises(CostError, match=r'^card\.json is no card: .* JSON object with "format": "mpq-cards"$'):
        CARDS.parse(text, "card.json")


def test_a_newer_schema_says_what_can_be_done() -> None:
    text = json.dumps({**CARDS.fields, "schema_version": 4})
    with pytest.raises(CostError, match=r"schema 4, .* reads 3; upgrade mpq-plugins, or draw another$"):
        CARDS.parse(text, "card.json")


@pytest.mark.parametrize("version", [2, 0, "3", True, None, 3.0])
def test_any_other_schema_is_damaged(version: object) -> None:
    text = json.dumps({**CARDS.fields, "schema_version": version})
    with pytest.raises(CostError, match=r"is damaged: schema_version: it should be 3, got .*; draw another$"):
        CARDS.parse(text, "card.json")


@pytest.mark.parametrize("heading", [CARDS, BY_HAND], ids=["ours", "by hand"])
@pytest.mark.parametrize("text", ["", "{", '{"suit": 1, "suit": 2}', b"\xff\xfe{"])
def test_what_is_no_json_or_says_a_thing_twice_is_refused(heading: Heading, text: str | bytes) -> None:
    with pytest.raises(CostError, match=r"^card\.json is (damaged|no valid card): "):
        heading.parse(text, "card.json")


def test_a_wrong_field_is_named_with_the_file() -> None:
    with pytest.raises(CostError, match=r"card\.json is damaged: suit: input should be a valid string, got 7"):
        CARDS.model(Card, json.dumps({**CARDS.fields, "suit": 7}), "card.json")


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CostError, match=r"cannot read the card .*none\.json: No such file"):
        CARDS.load(Card, tmp_path / "none.json")


def test_a_file_that_is_nested_too_deeply_is_damaged() -> None:
    text = '{"format": "mpq-cards", "schema_version": 3, "suit": ' + "[" * 5000 + "]" * 5000 + "}"
    with pytest.raises(CostError, match="damaged: it is nested too deeply"):
        CARDS.parse(text, "deep.json")

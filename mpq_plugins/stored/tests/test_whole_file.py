"""A file is written whole or not at all, and what was there before stays until then."""

from __future__ import annotations

from pathlib import Path

import pytest

from mpq_plugins.errors import CostError, OutputError
from mpq_plugins.stored import whole_file


def test_text_and_bytes_come_back_as_bytes(tmp_path: Path) -> None:
    path = whole_file.write(tmp_path / "a", "größer")
    assert whole_file.read(path, "thing", CostError) == "größer".encode()
    assert whole_file.read(whole_file.write(path, b"\x00\xff"), "thing", CostError) == b"\x00\xff"


def test_what_was_there_stays_when_writing_breaks_off(tmp_path: Path) -> None:
    path = whole_file.write(tmp_path / "a", "before")

    def interrupted() -> None:
        with whole_file.replacing(path) as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_text() == "before"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a"]


def test_a_missing_folder_is_named_or_made(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a"
    with pytest.raises(OutputError, match=r"^cannot write .*new/a: No such file or directory$"):
        whole_file.write(path, "x")
    with pytest.raises(CostError, match=r"^cannot write the table .*new/a: No such file"):
        whole_file.write(path, "x", "table", CostError)
    assert whole_file.write(path, "x", make_folder=True).read_text() == "x"

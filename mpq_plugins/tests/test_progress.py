import io
import sys

import pytest

from mpq_plugins.progress import track


def test_the_items_come_in_order_with_and_without_a_bar(capsys):
    assert list(track("abc", "reading", show=False)) == ["a", "b", "c"]
    assert list(track("abc", "reading", show=True)) == ["a", "b", "c"]
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("show", "terminal", "drawn"),
    [(None, False, False), (None, True, True), (False, True, False), (True, True, True)],
)
def test_the_bar_is_drawn_on_standard_error_where_that_is_a_terminal(monkeypatch, show, terminal, drawn):
    stream = io.StringIO()
    stream.isatty = lambda: terminal
    monkeypatch.setattr(sys, "stderr", stream)
    assert list(track([1, 2], "weighing", show)) == [1, 2]
    assert ("weighing" in stream.getvalue()) is drawn


def test_items_are_taken_one_at_a_time():
    taken = track([1, 2, 3], "counting", show=False)
    assert next(taken) == 1
    assert list(taken) == [2, 3]

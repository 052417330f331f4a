import io
import re
import sys
import threading

import pytest

from mpq_plugins.terminal import progress
from mpq_plugins.terminal.progress import stage, track


class AtOnce(threading.Timer):
    """A timer for which every moment has come already."""

    def start(self):
        self.function()

    def join(self, timeout=None):
        pass


@pytest.fixture
def at_once(monkeypatch):
    monkeypatch.setattr(progress.threading, "Timer", AtOnce)


def stream(monkeypatch, terminal):
    found = io.StringIO()
    found.isatty = lambda: terminal
    monkeypatch.setattr(sys, "stderr", found)
    monkeypatch.setenv("COLUMNS", "100")
    return found


def test_the_items_come_in_order_with_and_without_a_bar(capsys):
    assert list(track("abc", "reading", show=False)) == ["a", "b", "c"]
    assert list(track("abc", "reading", show=True)) == ["a", "b", "c"]
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("show", "terminal", "drawn"),
    [(None, False, False), (None, True, True), (False, True, False), (True, True, True), (True, False, True)],
)
def test_the_bar_is_drawn_on_standard_error_where_that_is_a_terminal_or_it_is_asked_for(
    monkeypatch, at_once, show, terminal, drawn
):
    shown = stream(monkeypatch, terminal)
    assert list(track([1, 2], "weighing", show)) == [1, 2]
    assert ("weighing" in shown.getvalue()) is drawn


def test_a_stage_that_is_over_at_once_leaves_nothing_on_the_screen(monkeypatch):
    shown = stream(monkeypatch, terminal=True)
    list(track([1, 2], "weighing"))
    with stage("choosing"):
        pass
    assert shown.getvalue() == ""


def test_what_is_done_and_what_is_left_go_by_the_weights(monkeypatch, at_once):
    shown = stream(monkeypatch, terminal=False)
    items = track(["small", "large"], "weighing", show=True, weights=[1, 3])
    assert next(items) == "small"
    assert next(items) == "large"
    items.close()
    assert re.search(r"weighing .* 25%", shown.getvalue())


def test_a_stage_within_another_is_a_line_of_the_same_display(monkeypatch, at_once):
    shown = stream(monkeypatch, terminal=False)
    with stage("exporting", show=True):
        list(track([1], "rounding"))
    assert [line.split()[0] for line in shown.getvalue().splitlines() if line.strip()] == ["exporting", "rounding"]


def test_a_stage_within_one_that_is_not_shown_is_not_shown_either(monkeypatch, at_once):
    shown = stream(monkeypatch, terminal=True)
    with stage("exporting", show=False):
        list(track([1, 2], "rounding"))
    assert shown.getvalue() == ""


def interrupted(item):
    if item == 2:
        raise KeyboardInterrupt


def test_an_interruption_ends_the_display_and_the_next_one_is_drawn(monkeypatch, at_once):
    shown = stream(monkeypatch, terminal=False)
    with pytest.raises(KeyboardInterrupt):
        list(map(interrupted, track([1, 2], "first", show=True)))
    list(track([1, 2], "second", show=True))
    assert re.search(r"first .* 50%.*\n+second .* 100%", shown.getvalue())


def test_items_are_taken_one_at_a_time():
    taken = track([1, 2, 3], "counting", show=False)
    assert next(taken) == 1
    assert list(taken) == [2, 3]

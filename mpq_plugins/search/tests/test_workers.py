"""Pieces side by side: in order, few at a time, and sums as one pass after another makes them."""

import contextvars
import threading
import time

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from mpq_plugins.search.workers import ALONE, InTurn, cores, each_side_by_side, side_by_side


def test_results_come_in_the_order_of_the_items_and_no_more_are_begun_than_there_are_workers():
    drawn, taken = [], []

    def items():
        for number in range(6):
            drawn.append(number)
            yield number

    def slower_first(number):
        time.sleep(0.01 * (number == 0))
        return 10 * number

    with side_by_side(2) as workers:
        for result in workers.ordered(slower_first, items()):
            taken.append(result)
            assert len(drawn) <= len(taken) + 1
    assert taken == [0, 10, 20, 30, 40, 50]


def test_short_pieces_behind_a_long_one_leave_no_thread_idle():
    other_long_one, done = threading.Event(), []

    def work(number):
        if number == 0:
            assert other_long_one.wait(5)  # which is begun while the first is at work, behind three short ones
        if number == 4:
            other_long_one.set()
        done.append(number)
        return number

    with side_by_side(2) as workers:
        assert list(workers.ordered(work, range(6), ahead=3)) == list(range(6))
    assert done[:4] == [1, 2, 3, 4]


def test_pieces_of_pieces_are_shared_by_the_same_threads_and_nobody_waits_for_one():
    threads, asked, held = set(), [], threading.Event()

    def part(number):
        threads.add(threading.current_thread().name)
        if number == 1:
            held.set()
        elif number == 0 and threading.current_thread().name in asked:
            assert held.wait(5)  # until the other thread has come by
        return number

    def whole(number):
        if number:
            return each_side_by_side(lambda n: -n, range(2))
        asked.append(threading.current_thread().name)
        return each_side_by_side(part, range(4))

    with side_by_side(2) as workers:
        assert list(workers.ordered(whole, range(3))) == [[0, 1, 2, 3], [0, -1], [0, -1]]
    assert len(threads) == 2
    assert each_side_by_side(lambda n: threading.current_thread(), range(2)) == [threading.current_thread()] * 2


def test_two_workers_work_at_the_same_time():
    meet = threading.Barrier(2, timeout=5)
    with side_by_side(2) as workers:
        assert sorted(workers.ordered(lambda _: meet.wait(), range(2))) == [0, 1]


@pytest.mark.parametrize("count", [1, 2])
def test_an_error_comes_where_the_result_would_and_nothing_runs_on_behind_it(count):
    running = []

    def work(number):
        if number == 1:
            raise KeyboardInterrupt
        running.append(number)
        return number

    found = []
    with side_by_side(count) as workers, pytest.raises(KeyboardInterrupt):
        found.extend(workers.ordered(work, range(50)))
    assert running in ([0], [0, 2])


def test_one_worker_is_the_thread_that_asks():
    assert set(ALONE.ordered(lambda _: threading.get_ident(), range(2))) == {threading.get_ident()}


def test_pieces_see_what_the_asking_thread_has_set():
    name = contextvars.ContextVar("name", default="nobody")
    name.set("asked")
    with side_by_side(2) as workers, np.errstate(divide="raise"):
        assert list(workers.ordered(lambda _: (name.get(), np.geterr()["divide"]), "ab")) == [("asked", "raise")] * 2


def test_blas_has_one_thread_until_the_last_of_several_leaves():
    def threads():
        return {lib["num_threads"] for lib in threadpool_info() if lib["user_api"] == "blas"}

    before, first, second = threads(), side_by_side(1), side_by_side(2)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert threads() == {1}
    second.__exit__(None, None, None)
    assert threads() == before


def test_passes_add_to_each_sum_in_their_order_even_if_the_first_is_the_slowest_or_fails():
    in_turn, added = InTurn({"a": 2, "b": 1}), []

    def add(number):
        try:
            for key in ("a", "b", "a"):
                time.sleep(0.002 * (3 - number))
                if (number, key) == (1, "b"):
                    raise ValueError
                with in_turn.turn(number, key):
                    added.append((key, number))
        finally:
            in_turn.ended(number)

    with side_by_side(3) as workers:
        begun = [workers.start(add, number) for number in range(3)]
        assert [type(future.exception()) for future in begun] == [type(None), ValueError, type(None)]
    assert [number for key, number in added if key == "a"] == [0, 0, 1, 2, 2]
    assert [number for key, number in added if key == "b"] == [0, 2]


def test_cores_are_no_more_than_is_asked_for(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert cores() == 1
    monkeypatch.setenv("OMP_NUM_THREADS", "a,b")
    assert cores() >= 1

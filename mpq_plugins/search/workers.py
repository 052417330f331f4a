"""Pieces of work side by side, each in one thread.

A search is many small operations, and threads within each spend their time in waiting for each other. So BLAS and the
framework get one thread each here, and other cores get other pieces: chunks of samples, layers, directions of
gradients. What is summed is summed in the order of the pieces, so results do not depend on how many are done at once.
"""

from __future__ import annotations

import contextvars
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import cache
from typing import Any, TypeVar

import scipy.linalg  # noqa: F401  (brings SciPy's own BLAS, which is limited only if it is loaded by then)
from threadpoolctl import ThreadpoolController

Item = TypeVar("Item")
Result = TypeVar("Result")


class Workers:
    """So many threads; with one, everything happens in the thread that asks, when it asks."""

    def __init__(self, count: int = 1, pool: ThreadPoolExecutor | None = None) -> None:
        self.count, self._pool = count, pool

    def ordered(self, work: Callable[[Item], Result], items: Iterable[Item], ahead: int = 1) -> Iterator[Result]:
        """What ``work`` gives of each item, in their order; so many are begun or wait to be taken at a time.

        ahead: that many times as many, where results are small and items differ in what they cost, so that a short one
        behind a long one leaves no thread idle.

        Items are drawn as they are needed, by the thread that takes the results. An error of a piece is raised where
        its result would be; those behind it are given up, or waited for.
        """
        if self._pool is None:
            yield from map(work, items)
            return
        begun: deque[Future[Result]] = deque()
        source = iter(items)
        try:
            while True:
                while len(begun) < self.count * ahead:
                    try:
                        item = next(source)
                    except StopIteration:
                        break
                    begun.append(self.start(work, item))
                if not begun:
                    return
                result = begun.popleft().result()
                yield result
        finally:
            given_up(begun)

    def start(self, work: Callable[..., Result], *given: Any) -> Future[Result]:
        """Begin a piece, with the caller's context variables; without a pool it is done on return."""
        if self._pool is not None:
            return self._pool.submit(contextvars.copy_context().run, work, *given)
        done: Future[Result] = Future()
        done.set_result(work(*given))
        return done


ALONE = Workers()
_here: contextvars.ContextVar[Workers] = contextvars.ContextVar("workers", default=ALONE)


def each_side_by_side(work: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """What ``work`` gives of each item, by the workers of the block that this is called in; ``map`` outside of one.

    For parts of a piece: whoever asks works on what no other thread has begun, so that pieces never wait for threads.
    """
    workers, items = _here.get(), list(items)
    if workers.count == 1 or len(items) < 2:
        return list(map(work, items))
    begun = [workers.start(work, item) for item in items]
    try:
        return [work(item) if future.cancel() else future.result() for future, item in zip(begun, items, strict=True)]
    finally:
        given_up(begun)


def given_up(begun: Iterable[Future[Any]]) -> None:
    """Cancel what has not begun, and wait for the rest."""
    for future in [future for future in begun if not future.cancel()]:
        future.exception()


@contextmanager
def side_by_side(count: int, one_thread: Callable[[], AbstractContextManager[Any]] = nullcontext) -> Iterator[Workers]:
    """Workers while the block runs, in which BLAS takes one thread, and so does the framework.

    one_thread: a context in which each operation of the framework takes one thread.
    """
    with ExitStack() as stack:
        stack.enter_context(_one_thread_in_blas())
        stack.enter_context(one_thread())
        pool = stack.enter_context(ThreadPoolExecutor(count, "mpq")) if count > 1 else None
        workers = Workers(max(1, count), pool)
        token = _here.set(workers)
        try:
            yield workers
        finally:
            _here.reset(token)


def cores() -> int:
    """Cores that the process may use, or what OMP_NUM_THREADS asks for, if that is less."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    asked = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, min(affinity, int(asked))) if asked.isdecimal() else affinity


class InTurn:
    """Sums that several passes add to side by side: to each sum one pass after another, in the order of the passes.

    expected: how often a pass adds to each sum, by its key, unless it ends before. A pass must begin only after those
    before it have, or they all wait for ever.
    """

    def __init__(self, expected: dict[str, int]) -> None:
        self._expected = expected
        self._added: dict[tuple[int, str], int] = {}
        self._ended: set[int] = set()
        self._changed = threading.Condition()

    @contextmanager
    def turn(self, of: int, key: str) -> Iterator[None]:
        """The block, once all earlier passes have added to this sum what they will."""
        with self._changed:
            self._changed.wait_for(lambda: all(self._done(earlier, key) for earlier in range(of)))
        yield
        with self._changed:
            self._added[of, key] = self._added.get((of, key), 0) + 1
            self._changed.notify_all()

    def ended(self, of: int) -> None:
        """The pass adds no more."""
        with self._changed:
            self._ended.add(of)
            self._changed.notify_all()

    def _done(self, of: int, key: str) -> bool:
        return of in self._ended or self._added.get((of, key), 0) >= self._expected[key]


_lock = threading.Lock()
_inside = 0
_limits: Any = None


@cache
def _libraries() -> ThreadpoolController:
    """What has threads of its own in this process: a look through all that is loaded, some 10 ms, so taken once."""
    return ThreadpoolController()


@contextmanager
def _one_thread_in_blas() -> Iterator[None]:
    """BLAS at one thread as long as anybody is inside; the number of threads is the process's."""
    global _inside, _limits
    with _lock:
        if not _inside:
            _limits = _libraries().limit(limits=1, user_api="blas")
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside:
                _limits.restore_original_limits()
                _limits = None

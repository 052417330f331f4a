"""The ops and runtimes that plug-ins have registered, for what stands below the host that loads them."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from mpq_plugins.graph.op import Op
    from mpq_plugins.graph.runtimes.runtime import Runtime

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True, eq=False)
class Known:
    """ops: by word. runtimes: by the framework and the engine that a target names."""

    ops: Mapping[str, Op] = field(default_factory=dict)
    runtimes: Mapping[tuple[str, str], Runtime] = field(default_factory=dict)

    def with_more(self, ops: Mapping[str, Op], runtimes: Mapping[tuple[str, str], Runtime]) -> Known:
        """These and others."""
        return Known({**self.ops, **ops}, {**self.runtimes, **runtimes})


_instead: ContextVar[Known | None] = ContextVar("known", default=None)


def known() -> Known:
    """What is registered; loads the plug-ins the first time. The same object until another plug-in is admitted."""
    instead = _instead.get()
    if instead is not None:
        return instead
    found: Known = _plugins().host().known()
    return found


@functools.cache
def _plugins() -> Any:
    """The module of the host, which stands above: it is asked for every node, and imported once."""
    from mpq_plugins import plugins

    return plugins


@contextlib.contextmanager
def using(instead: Known) -> Iterator[None]:
    """Let ``known`` say this in the meantime: a plug-in's ops and runtimes are there when its targets are checked."""
    token = _instead.set(instead)
    try:
        yield
    finally:
        _instead.reset(token)


def once_known(function: Function) -> Function:
    """Keep what a function of what is registered gives, by its arguments, until another plug-in is admitted."""
    kept: dict[Any, Any] = {}
    of: list[Known] = []

    @functools.wraps(function)
    def asked(*arguments: Any) -> Any:
        now = known()
        if not of or of[0] is not now:
            kept.clear()
            of[:] = [now]
        if arguments not in kept:
            kept[arguments] = function(*arguments)
        return kept[arguments]

    return asked  # type: ignore[return-value]

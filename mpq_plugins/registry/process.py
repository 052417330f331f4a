"""The host of this process, and the ops and runtimes that it knows."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(frozen=True, eq=False)
class Known:
    """ops: by word. runtimes: by the framework and the engine that a target names."""

    ops: Mapping[str, Any] = field(default_factory=dict)
    runtimes: Mapping[tuple[str, str], Any] = field(default_factory=dict)

    def with_more(self, ops: Mapping[str, Any], runtimes: Mapping[tuple[str, str], Any]) -> Known:
        """These and others."""
        return Known({**self.ops, **ops}, {**self.runtimes, **runtimes})


class Host(Protocol):
    """What the rooms ask of the host of plug-ins (mpq_plugins.plugins.host.PluginHost, where each is described)."""

    def known(self) -> Known: ...
    def targets(self) -> dict[str, Any]: ...
    def methods(self) -> dict[str, Any]: ...
    def cost_models(self) -> dict[str, Any]: ...
    def sensitivities(self) -> dict[str, Any]: ...
    def frameworks(self) -> dict[str, Any]: ...
    def target(self, target: Any) -> Any: ...
    def for_recipe(self, target: Any) -> Any: ...
    def method(self, name: Any) -> Any: ...
    def sensitivity(self, name: str) -> Any: ...
    def framework(self, name: str) -> Any: ...
    def measure_latency(self, target: Any, workload: Any) -> float | None: ...
    def describe_device(self, target: Any) -> Any: ...


_lock = threading.Lock()
_host: list[Host] = []
_make: list[Callable[[], Host]] = []


def made_by(make: Callable[[], Host]) -> None:
    """Say what makes the host of this process, when it is first asked."""
    _make[:] = [make]


def host() -> Host:
    """The host of this process."""
    if not _host:
        with _lock:
            if not _host:
                _host.append(_make[0]())
    return _host[0]


_instead: ContextVar[Known | None] = ContextVar("known", default=None)


def known() -> Known:
    """The registered ops and runtimes; loads the plug-ins the first time.

    The same object until another plug-in is admitted.
    """
    instead = _instead.get()
    return host().known() if instead is None else instead


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

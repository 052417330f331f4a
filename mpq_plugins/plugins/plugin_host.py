"""The plug-in host: loads every plug-in through one door, and keeps what each registered.

Built-ins come first and pass the same checks as everybody. A plug-in that fails contributes nothing,
is warned of by name, and takes nobody else down.
"""

from __future__ import annotations

import difflib
import os
import threading
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint
from typing import TYPE_CHECKING, Any, Literal

from mpq_plugins import registry
from mpq_plugins.errors import PluginError, TargetError
from mpq_plugins.graph.runtimes import check_rounding
from mpq_plugins.hardware.refused_targets import REFUSED
from mpq_plugins.hardware.target import Target
from mpq_plugins.plugins import devices, discovery
from mpq_plugins.plugins.admission import collect, new_manager
from mpq_plugins.plugins.discovery import BLOCK_VARIABLE, BUILTINS, DISTRIBUTION, LOAD_VARIABLE, Source
from mpq_plugins.plugins.registrations import SECTIONS, Registered, empty, known_of
from mpq_plugins.registry import Known
from mpq_plugins.registry.adapter import Framework
from mpq_plugins.terminal.silence import on_stderr

if TYPE_CHECKING:
    from mpq_plugins.graph.op import Op
    from mpq_plugins.graph.runtimes.runtime import Runtime
    from mpq_plugins.hardware.device import Device
    from mpq_plugins.sensitivity.rating import Sensitivity


class PluginWarning(UserWarning):
    """A plug-in failed and was left out; the rest works."""


@dataclass(frozen=True)
class PluginInfo:
    """A plug-in as ``mpq plugins`` lists it; ``failure`` is one sentence, where it failed."""

    name: str
    distribution: str
    version: str
    summary: str = ""
    failure: str = ""
    state: Literal["loaded", "blocked", "failed"] = "loaded"


class PluginHost:
    """Finds, loads and asks plug-ins. Loading happens once, on the first question, in any thread.

    builtins: modules to load first. entry_points: installed plug-ins; None discovers them.
    environment: of MPQ_LOAD_PLUGINS (names of plug-ins or distributions that discovery keeps;
    empty for none) and MPQ_BLOCK_PLUGINS (names never loaded, built-ins too). blocked: more of those.
    """

    def __init__(
        self,
        builtins: Iterable[str] = BUILTINS,
        entry_points: Iterable[EntryPoint] | None = None,
        environment: Mapping[str, str] | None = None,
        blocked: Iterable[str] = (),
    ) -> None:
        environment = os.environ if environment is None else environment
        self._builtins = tuple(builtins)
        self._entry_points = None if entry_points is None else tuple(entry_points)
        self._only = discovery.names_in(environment, LOAD_VARIABLE)
        self._blocked = (*blocked, *(discovery.names_in(environment, BLOCK_VARIABLE) or ()))
        self._manager = new_manager()
        self._registered: Registered = empty()
        self._loaded: dict[str, PluginInfo] = {}
        self._left_out: list[PluginInfo] = []
        self._started = self._complete = False
        self._known: Known | None = None
        self._lock = threading.RLock()

    def load(self) -> None:
        """Load all plug-ins; does nothing the second time."""
        if self._complete:
            return
        with on_stderr(), self._lock:  # what a vendor's banner says is no part of what a command prints
            if self._started:  # a plug-in asks while it is being loaded
                return
            self._started = True
            for source in self._sources():
                self._load(source)
            self._complete = True

    def register(self, plugin: Any, name: str) -> None:
        """Load one plug-in object by hand, as a notebook would. Raises PluginError if it fails."""
        self.load()
        with self._lock:
            self._admit(plugin, PluginInfo(name, "", ""))

    def plugins(self) -> tuple[PluginInfo, ...]:
        """All plug-ins in the order of loading, and then those that are blocked or failed."""
        self.load()
        return (*self._loaded.values(), *self._left_out)

    def known(self) -> Known:
        """The registered ops and runtimes; the same object until another plug-in is admitted."""
        if self._known is not None:
            return self._known
        self.load()
        found = known_of(self._registered)
        if self._complete:
            self._known = found
        return found

    def ops(self) -> dict[str, Op]:
        """The registered ops by word."""
        return self._section("ops")

    def runtimes(self) -> dict[str, Runtime]:
        """The registered runtimes by "framework.engine"."""
        return self._section("runtimes")

    def targets(self) -> dict[str, Target]:
        """The registered targets by name."""
        return self._section("targets")

    def methods(self) -> dict[str, Any]:
        """The registered methods by name."""
        return self._section("methods")

    def cost_models(self) -> dict[str, Any]:
        """The registered cost models by the name of their resource."""
        return self._section("cost_models")

    def sensitivities(self) -> dict[str, Sensitivity]:
        """The registered sensitivities by name."""
        return self._section("sensitivities")

    def frameworks(self) -> dict[str, Framework]:
        """The registered adapters of frameworks by name."""
        return self._section("frameworks")

    def provider(self, section: str, name: str) -> PluginInfo:
        """The plug-in that registered ``name``; section: of hosting.registrations.SECTIONS."""
        self.load()
        return self._loaded[self._registered[section][name][1]]

    def target(self, target: str | os.PathLike[str] | Target) -> Target:
        """A target by its registered name, from a JSON file (a path ending in .json), or itself.

        Raises TargetError with the closest names when there is none, and for one that contradicts its runtime.
        """
        if not isinstance(target, Target) and (isinstance(target, os.PathLike) or str(target).endswith(".json")):
            target = Target.load(target)
        if isinstance(target, Target):
            check_rounding(target)
            return target
        if not isinstance(target, str):
            raise TargetError(
                "a target is a registered name, the path of a target's .json file, or a Target, and not a "
                f"{type(target).__name__}; registered are {', '.join(sorted(self.targets()))}"
            )
        known = self.targets()
        if target in known:
            return known[target]
        if target in REFUSED:
            raise TargetError(f"target {target!r} is refused: {REFUSED[target]}")
        raise TargetError(f"{self._unknown('targets', target)}; a path to a target's .json file works too")

    def for_recipe(self, target: Target) -> str | Target:
        """What a recipe says of its target: the name of one of mpq-plugins' own, else the target itself."""
        own = self.targets().get(target.name) == target
        return target.name if own and self.provider("targets", target.name).distribution == DISTRIBUTION else target

    def method(self, name: Any) -> Any:
        """A method by name, or itself. Raises PluginError with the closest names when there is none."""
        if not isinstance(name, str):
            return name
        return self._named("methods", name)

    def framework(self, name: str) -> Framework:
        """An adapter by the name of its framework. Raises PluginError with the closest names when there is none."""
        found: Framework = self._named("frameworks", name)
        return found

    def sensitivity(self, name: str) -> Sensitivity:
        """A sensitivity by name. Raises PluginError with the closest names when there is none."""
        found: Sensitivity = self._named("sensitivities", name)
        return found

    def op(self, word: str) -> Op:
        """The record of an op. Raises PluginError with the closest words when there is none."""
        found: Op = self._named("ops", word)
        return found

    def runtime(self, name: str) -> Runtime:
        """A runtime by "framework.engine". Raises PluginError with the closest names when there is none."""
        found: Runtime = self._named("runtimes", name)
        return found

    def measure_latency(self, target: Target, workload: Any) -> float | None:
        """Seconds of a workload by the first plug-in that measures it; None when no plug-in does.

        Raises PluginError, naming the plug-in, when it fails or returns no duration.
        """
        self.load()
        return devices.measured(self._manager.hook.mpq_measure_latency.get_hookimpls(), target, workload)

    def describe_device(self, target: Target) -> Device:
        """The device of a target by the first plug-in that describes it, else this machine.

        Raises PluginError, naming the plug-in, when it fails or returns no Device.
        """
        self.load()
        return devices.described(self._manager.hook.mpq_describe_device.get_hookimpls(), target)

    def _named(self, section: str, name: str) -> Any:
        known = self._section(section)
        if not isinstance(name, str) or name not in known:
            raise PluginError(self._unknown(section, name))
        return known[name]

    def _section(self, section: str) -> dict[str, Any]:
        self.load()
        return {name: item for name, (item, _) in self._registered[section].items()}

    def _unknown(self, section: str, name: object) -> str:
        known = sorted(self._registered[section])
        parts = [f"there is no {SECTIONS[section].noun} {name!r}"]
        if close := difflib.get_close_matches(str(name), known, n=3, cutoff=0.5):
            parts.append(f"closest are {', '.join(close)}")
        parts.append(f"registered are {', '.join(known) or 'none'}")
        if failed := sorted({info.name for info in self._left_out if info.state == "failed"}):
            parts.append(f"these plug-ins failed and are left out: {', '.join(failed)}")
        return "; ".join(parts)

    def _sources(self) -> list[Source]:
        points = discovery.installed() if self._entry_points is None else self._entry_points
        found = [discovery.from_entry_point(point) for point in points]
        if self._only is not None:
            for name in self._only:
                if not any(discovery.matches(source, [name]) for source in found):
                    _warn(f"{LOAD_VARIABLE} names {name!r}, and no installed package has such a plug-in")
            found = [source for source in found if discovery.matches(source, self._only)]
        return [discovery.builtin(module) for module in self._builtins] + found

    def _load(self, source: Source) -> None:
        info = PluginInfo(source.name, source.distribution, source.version)
        if discovery.matches(source, self._blocked):
            self._left_out.append(replace(info, state="blocked"))
            return
        try:
            self._admit(discovery.imported(source), info)
        except PluginError as error:
            self._left_out.append(replace(info, state="failed", failure=str(error)))
            origin = f" of {info.distribution} {info.version}" if info.distribution else ""
            _warn(f"plug-in {info.name!r}{origin} is left out: {error}; {BLOCK_VARIABLE}={info.name} silences this")

    def _admit(self, plugin: Any, info: PluginInfo) -> None:
        """Take all that a plug-in registers, or nothing (PluginError)."""
        if info.name in self._loaded:
            owner = self._loaded[info.name]
            origin = f"{owner.distribution} {owner.version}" if owner.distribution else "registered by hand"
            raise PluginError(f"there is a plug-in named {info.name!r} already ({origin})")
        staged = collect(plugin, info.name, self._registered, self._before())
        self._manager.register(plugin, name=info.name)
        for section, items in staged.items():
            self._registered[section].update(items)
        self._known = None
        summary = next(iter((plugin.__doc__ or "").strip().splitlines()), "")
        self._loaded[info.name] = replace(info, summary=summary)

    def _before(self) -> Known:
        """The ops and runtimes that a plug-in finds; a host that was made with few built-ins has the process's too."""
        own, process = known_of(self._registered), host()
        return own if process is self else process.known().with_more(own.ops, own.runtimes)


def _warn(message: str) -> None:
    warnings.warn(message, PluginWarning, stacklevel=2)


def host() -> PluginHost:
    """The host of this process."""
    found = registry.host()
    assert isinstance(found, PluginHost)  # the package makes no other
    return found


def methods() -> dict[str, Any]:
    """The registered methods by name."""
    return host().methods()


def cost_models() -> dict[str, Any]:
    """The registered cost models by the name of their resource."""
    return host().cost_models()


def frameworks() -> dict[str, Framework]:
    """The registered adapters of frameworks by name."""
    return host().frameworks()


def method(name: Any) -> Any:
    """A method by name, or itself; raises PluginError with the closest names."""
    return host().method(name)

"""Registrations: what a plug-in offers through one hook each, checked and kept until all of it stands."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mpq_plugins.errors import PluginError
from mpq_plugins.graph.runtimes import check_rounding
from mpq_plugins.targets import Target
from mpq_plugins.training.method import TrainingMethod, check_contract

METHOD_KINDS = ("post-training", "training")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

Registered = dict[str, dict[str, tuple[Any, str]]]
"""By section ("targets", ...) and name: the object, and the plug-in that it came from."""


@dataclass(frozen=True)
class Section:
    """One list hook: its name, what it collects in words, and what a thing needs to be collected.

    named: whether ``register`` takes the name as an argument of its own.
    check: returns what is wrong with the object, or None.
    """

    hook: str
    noun: str
    check: Callable[[Any], str | None]
    named: bool = False


def _check_target(item: Any) -> str | None:
    if not isinstance(item, Target):
        return "build it with mpq_plugins.Target(...)"
    check_rounding(item)
    return None


def _check_method(item: Any) -> str | None:
    kind, summary = getattr(item, "kind", None), getattr(item, "summary", None)
    if kind not in METHOD_KINDS:
        return f"its kind must be one of {', '.join(METHOD_KINDS)}, and is {kind!r}"
    if not (isinstance(summary, str) and summary.strip()):
        return f"it needs a summary of one line, and has {summary!r}"
    trained = getattr(item, "training", item)
    return check_contract(trained) if isinstance(trained, TrainingMethod) else None


def _check_cost_model(item: Any) -> str | None:
    if not isinstance(getattr(item, "unit", None), str):
        return "it needs a unit, as text"
    return None if callable(getattr(item, "rows", None)) else "it needs rows(inventory)"


def _check_framework(item: Any) -> str | None:
    missing = [f"{name}()" for name in ("available", "load") if not callable(getattr(item, name, None))]
    return f"it needs {' and '.join(missing)}" if missing else None


SECTIONS: Mapping[str, Section] = {
    "targets": Section("mpq_register_targets", "target", _check_target),
    "methods": Section("mpq_register_methods", "method", _check_method),
    "cost_models": Section("mpq_register_cost_models", "cost model", _check_cost_model, named=True),
    "frameworks": Section("mpq_register_frameworks", "framework", _check_framework),
}


def collector(section: str, plugin: str, taken: Registered, staged: Registered) -> Callable[..., None]:
    """The ``register`` function that one plug-in gets for one hook; it fills ``staged``.

    Raises PluginError when the thing is not what the hook collects, or its name belongs to another.
    """
    rules = SECTIONS[section]

    def add(name: Any, item: Any) -> None:
        if not (isinstance(name, str) and NAME.fullmatch(name)):
            raise PluginError(
                f"a {rules.noun} needs a name of letters, digits, '-', '_' and '.', and {_kind_of(item)} has {name!r}"
            )
        wrong = rules.check(item)
        if wrong:
            raise PluginError(f"{name!r} ({_kind_of(item)}) is no {rules.noun}: {wrong}")
        for known in (taken, staged):
            if name in known[section]:
                owner = known[section][name][1]
                whose = "this plug-in itself" if owner == plugin else f"plug-in {owner!r}"
                raise PluginError(f"the {rules.noun} {name!r} is registered already, by {whose}")
        staged[section][name] = (item, plugin)

    def register(item: Any) -> None:
        wrong = rules.check(item) if section == "targets" else None
        if wrong:
            raise PluginError(f"{_kind_of(item)} is no {rules.noun}: {wrong}")
        add(getattr(item, "name", None), item)

    def register_named(name: str, item: Any) -> None:
        add(name, item)

    return register_named if rules.named else register


def empty() -> Registered:
    """No registrations."""
    return {section: {} for section in SECTIONS}


def _kind_of(item: Any) -> str:
    return f"the class {item.__name__}" if isinstance(item, type) else f"an object of type {type(item).__name__}"

"""Registrations: what a plug-in offers through one hook each, checked and kept until all of it stands."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mpq_plugins.errors import PluginError
from mpq_plugins.graph.registered import check_op, check_runtime
from mpq_plugins.graph.runtimes import check_rounding
from mpq_plugins.graph.runtimes.runtime import Runtime
from mpq_plugins.hardware.target import Target
from mpq_plugins.registry import Known, using
from mpq_plugins.search import method
from mpq_plugins.search.method import PostTrainingMethod
from mpq_plugins.training.method import TrainingMethod, check_contract, training_of

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

Registered = dict[str, dict[str, tuple[Any, str]]]
"""By section ("targets", ...) and name: the object, and the plug-in that it came from."""


@dataclass(frozen=True)
class Section:
    """One list hook: its name, what it collects in words, and what a thing needs to be collected.

    check: returns what is wrong with the object, or None. named: whether ``register`` takes the name as an argument of
    its own; else ``name`` gives the object's.
    """

    hook: str
    noun: str
    check: Callable[[Any], str | None]
    named: bool = False
    name: Callable[[Any], Any] = lambda item: getattr(item, "name", None)


def _check_target(item: Any) -> str | None:
    if not isinstance(item, Target):
        return "build it with mpq_plugins.Target(...)"
    check_rounding(item)
    return None


def _check_method(item: Any) -> str | None:
    if not isinstance(item, PostTrainingMethod | TrainingMethod):
        return (
            "make it an object of a subclass of PostTrainingMethod or RatingMethod (mpq_plugins.search.method), or of "
            "TrainingMethod (mpq_plugins.training.method)"
        )
    summary = getattr(item, "summary", None)
    if not (isinstance(summary, str) and summary.strip()):
        return f"it needs a summary of one line, and has {summary!r}"
    wrong = method.check_contract(item) if isinstance(item, PostTrainingMethod) else None
    trained = training_of(item)
    if trained is None or isinstance(trained, TrainingMethod):
        return wrong or (None if trained is None else check_contract(trained))
    return f"its training is no TrainingMethod, and a {type(trained).__name__}"


def _check_cost_model(item: Any) -> str | None:
    if not isinstance(getattr(item, "unit", None), str):
        return "it needs a unit, as text"
    return None if callable(getattr(item, "rows", None)) else "it needs rows(inventory)"


def _check_framework(item: Any) -> str | None:
    missing = [f"{name}()" for name in ("available", "load") if not callable(getattr(item, name, None))]
    return f"it needs {' and '.join(missing)}" if missing else None


def _check_sensitivity(item: Any) -> str | None:
    return None if callable(getattr(item, "rate", None)) else "it needs rate(problem, sites)"


def _runtime_name(item: Any) -> Any:
    return f"{item.framework}.{item.engine}" if isinstance(item, Runtime) else getattr(item, "name", None)


SECTIONS: Mapping[str, Section] = {
    "ops": Section("mpq_register_ops", "op", check_op, name=lambda item: getattr(item, "word", None)),
    "runtimes": Section("mpq_register_runtimes", "runtime", check_runtime, name=_runtime_name),
    "targets": Section("mpq_register_targets", "target", _check_target),
    "methods": Section("mpq_register_methods", "method", _check_method),
    "cost_models": Section("mpq_register_cost_models", "cost model", _check_cost_model, named=True),
    "sensitivities": Section("mpq_register_sensitivities", "sensitivity", _check_sensitivity),
    "frameworks": Section("mpq_register_frameworks", "framework", _check_framework),
}


CHECKED_FIRST = ("targets", "ops", "runtimes")
"""Sections whose objects have a name only if they are of the right type."""


def collector(section: str, plugin: str, taken: Registered, staged: Registered, before: Known) -> Callable[..., None]:
    """The ``register`` function that one plug-in gets for one hook; it fills ``staged``.

    before: the ops and runtimes that there were, to which those that are staged come.

    Raises PluginError when the thing is not what the hook collects, or its name belongs to another.
    """
    rules = SECTIONS[section]

    def checked(item: Any) -> str | None:
        own = known_of(staged)
        with using(before.with_more(own.ops, own.runtimes)):
            return rules.check(item)

    def add(name: Any, item: Any) -> None:
        if not (isinstance(name, str) and NAME.fullmatch(name)):
            raise PluginError(
                f"a {rules.noun} needs a name of letters, digits, '-', '_' and '.', and {_kind_of(item)} has {name!r}"
            )
        wrong = checked(item)
        if wrong:
            raise PluginError(f"{name!r} ({_kind_of(item)}) is no {rules.noun}: {wrong}")
        for known in (taken, staged):
            if name in known[section]:
                owner = known[section][name][1]
                whose = "this plug-in itself" if owner == plugin else f"plug-in {owner!r}"
                raise PluginError(f"the {rules.noun} {name!r} is registered already, by {whose}")
        staged[section][name] = (item, plugin)

    def register(item: Any) -> None:
        wrong = checked(item) if section in CHECKED_FIRST else None
        if wrong:
            raise PluginError(f"{_kind_of(item)} is no {rules.noun}: {wrong}")
        add(rules.name(item), item)

    def register_named(name: str, item: Any) -> None:
        add(name, item)

    return register_named if rules.named else register


def known_of(registered: Registered) -> Known:
    """The ops and runtimes among what is registered."""
    tables = [item for item, _ in registered["runtimes"].values()]
    return Known(
        {word: item for word, (item, _) in registered["ops"].items()},
        {(table.framework, table.engine): table for table in tables},
    )


def empty() -> Registered:
    """No registrations."""
    return {section: {} for section in SECTIONS}


def _kind_of(item: Any) -> str:
    return f"the class {item.__name__}" if isinstance(item, type) else f"an object of type {type(item).__name__}"

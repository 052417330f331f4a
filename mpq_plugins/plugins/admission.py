"""Admission: one plug-in is checked against the contract, and asked once for all that it offers."""

from __future__ import annotations

import difflib
from typing import Any

import pluggy

from mpq_plugins.errors import MPQError, PluginError, sentence
from mpq_plugins.plugins import hookspecs
from mpq_plugins.plugins.registrations import SECTIONS, Registered, collector, empty, known_of
from mpq_plugins.registry import Known, using


def new_manager() -> pluggy.PluginManager:
    """A pluggy manager that knows our hooks and no plug-in."""
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    return manager


def collect(plugin: Any, name: str, taken: Registered, before: Known) -> Registered:
    """What a plug-in registers through the list hooks; nothing is kept of a plug-in that fails.

    taken: what others registered before, whose names are refused. before: the ops and runtimes that there are, to which
    the plug-in's own come before its targets are asked for.
    Raises PluginError, in one sentence, for a misspelt hook, an argument that a hook does not have,
    no hook at all, an exception in a hook, or a thing that the hook does not collect.
    """
    manager = new_manager()
    try:
        manager.register(plugin, name=name)
        manager.check_pending()
    except (pluggy.PluginValidationError, ValueError) as error:
        raise PluginError(_broken_contract(error, manager, plugin)) from error
    if not manager.get_hookcallers(plugin):
        raise PluginError(
            "it implements no hook; mark functions such as mpq_register_targets with mpq_plugins.hookimpl"
        )
    staged = empty()
    for section, rules in SECTIONS.items():
        register = collector(section, name, taken, staged, before)
        own = known_of(staged)
        try:
            with using(before.with_more(own.ops, own.runtimes)):
                getattr(manager.hook, rules.hook)(register=register)
        except MPQError as error:
            raise PluginError(f"in {rules.hook}: {error}") from error
        except (Exception, SystemExit) as error:
            raise PluginError(f"{rules.hook} failed: {sentence(error)}") from error
    return staged


def _broken_contract(error: Exception, manager: pluggy.PluginManager, plugin: Any) -> str:
    known = [name for name in vars(hookspecs) if name.startswith("mpq_")]
    for caller in manager.get_hookcallers(plugin) or ():
        if caller.name not in known:
            close = difflib.get_close_matches(caller.name, known, n=1)
            hint = f"did you mean {close[0]}?" if close else f"the hooks are {', '.join(known)}"
            return f"{caller.name} is no hook; {hint}"
    return sentence(error)

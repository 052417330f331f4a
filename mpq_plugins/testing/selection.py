"""Which targets, methods and adapters the kit runs on: those that the options name, or all that are registered."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mpq_plugins.plugins import host

SECTIONS: Mapping[str, str] = {
    "target": "targets",
    "method": "methods",
    "op": "ops",
    "runtime": "runtimes",
    "framework": "frameworks",
}
"""What can be asked for, by the end of its option (``--mpq-target``), and where the plug-in host keeps it."""


def asked_for(config: Any) -> dict[str, list[str]]:
    """The names that the command line gives, by kind; a kind that it does not mention is left out.

    config: pytest's.
    """
    given = {kind: config.getoption(f"mpq_{kind}", default=None) for kind in SECTIONS}
    return {kind: list(dict.fromkeys(names)) for kind, names in given.items() if names}


def chosen(config: Any, kind: str) -> list[str]:
    """The names of this kind to run on. Without any option: all registered; adapters, where they are installed."""
    asked = asked_for(config)
    if asked:
        return asked.get(kind, [])
    registered = getattr(host(), SECTIONS[kind])()
    return [name for name, item in registered.items() if kind != "framework" or item.available()]


def find(kind: str, name: str) -> Any:
    """The registered object. Raises MPQError with the closest names; a target may be a path to a .json file too."""
    return getattr(host(), kind)(name)

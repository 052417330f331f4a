"""Discovery: which plug-ins there are, before any of them is imported."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from mpq_plugins.errors import PluginError, sentence
from mpq_plugins.plugins.hookspecs import PROJECT
from mpq_plugins.registry.version import __version__

DISTRIBUTION = "mpq-plugins"
LOAD_VARIABLE = "MPQ_LOAD_PLUGINS"
BLOCK_VARIABLE = "MPQ_BLOCK_PLUGINS"

BUILTINS = (
    "mpq_plugins.builtin.ops",
    "mpq_plugins.builtin.runtimes",
    "mpq_plugins.builtin.sensitivities",
    "mpq_plugins.builtin.generic",
    "mpq_plugins.builtin.torch_kernels",
    "mpq_plugins.builtin.litert",
    "mpq_plugins.builtin.onnxruntime",
    "mpq_plugins.builtin.bit_array",
    "mpq_plugins.builtin.costs",
    "mpq_plugins.papers.msqe",
    "mpq_plugins.papers.po2_gradient",
    "mpq_plugins.papers.hmq",
    "mpq_plugins.papers.sdq",
    "mpq_plugins.papers.fdqmp",
    "mpq_plugins.papers.ohq",
)
"""Modules that are plug-ins of this distribution, whether or not it is installed."""


@dataclass(frozen=True)
class Source:
    """A plug-in that can be loaded: its name, where it comes from, and how to import it."""

    name: str
    distribution: str
    version: str
    load: Callable[[], Any]


def builtin(module: str) -> Source:
    """The source of a module of this distribution, named by its path below ``mpq_plugins``."""
    name = module.removeprefix(f"{PROJECT}.")
    return Source(name, DISTRIBUTION, __version__, lambda: importlib.import_module(module))


def installed() -> tuple[EntryPoint, ...]:
    """The entry points of group ``mpq_plugins``, by name and then by distribution."""
    return tuple(sorted(entry_points(group=PROJECT), key=lambda e: (e.name, *_origin(e))))


def from_entry_point(point: EntryPoint) -> Source:
    """The source of an entry point."""
    return Source(point.name, *_origin(point), point.load)


def names_in(environment: Mapping[str, str], variable: str) -> tuple[str, ...] | None:
    """The comma-separated names of a variable; None when it is not set, () when it is empty.

    >>> names_in({"MPQ_LOAD_PLUGINS": "acme, torch"}, "MPQ_LOAD_PLUGINS")
    ('acme', 'torch')
    """
    text = environment.get(variable)
    return None if text is None else tuple(name for part in text.split(",") if (name := part.strip()))


def matches(source: Source, names: Iterable[str]) -> bool:
    """Whether one of the names is the plug-in's own or its distribution's."""
    own = {source.name, _normal(source.distribution)}
    return any(name in own or _normal(name) in own for name in names)


def _origin(point: EntryPoint) -> tuple[str, str]:
    if point.dist is None:
        return "", ""
    return point.dist.name, point.dist.version


def _normal(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


def imported(source: Source) -> Any:
    """The plug-in itself. Raises PluginError, in one sentence, where it cannot be imported."""
    try:
        return source.load()
    except (Exception, SystemExit) as error:
        raise PluginError(f"it cannot be imported: {sentence(error)}") from error

"""The plug-in contract: five hooks, each a documented empty function.

A plug-in is a module with functions of these names, marked with ``mpq_plugins.hookimpl``, which its
package names in the entry-point group ``mpq_plugins``:

    # pyproject.toml
    [project.entry-points.mpq_plugins]
    acme = "mpq_acme.plugin"

    # mpq_acme/plugin.py
    from mpq_plugins import Target, hookimpl

    @hookimpl
    def mpq_register_targets(register):
        register(Target(name="acme-npu", ops={...}))

Hooks are called once, when plug-ins are loaded, and collect what exists. Nothing calls a hook per
tensor. An implementation may leave out arguments that it does not need. A plug-in that fails in any
hook contributes nothing, and is reported by name; the others are not affected.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from mpq_plugins.costs import CostModel
    from mpq_plugins.targets import Target

PROJECT = "mpq_plugins"
"""pluggy's project name, and the entry-point group."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)
"""Marks a function as the implementation of the hook of its name."""


@hookspec
def mpq_register_targets(register: Callable[[Target], None]) -> None:
    """Offer hardware targets.

    register: takes a Target, and raises PluginError when it is none or its name is taken. Target is
    strict and raises TargetError by itself. To ship targets as files: ``register(Target.load(path))``.
    """


@hookspec
def mpq_register_methods(register: Callable[[Any], None]) -> None:
    """Offer methods: ways to find or to train grids.

    register: takes an object with ``name``, ``kind`` ("post-training" or "training"), ``summary`` (one
    line for ``mpq methods``) and, where there is one, ``paper``. A post-training method has
    ``search(problem)``, which returns a Recipe.
    """


@hookspec
def mpq_register_cost_models(register: Callable[[str, CostModel], None]) -> None:
    """Offer cost models: what a choice of bits costs.

    register: takes the name of the resource, under which ``Budget(other={name: limit})`` limits it,
    and an object with ``unit`` (text) and ``rows(inventory)``: mpq_plugins.costs.CostModel.
    """


@hookspec
def mpq_register_frameworks(register: Callable[[Any], None]) -> None:
    """Offer adapters of frameworks.

    register: takes an object with ``name``, ``summary``, ``requirement`` (what to install, such as
    "mpq-plugins[torch]"), ``available()`` (whether the framework is installed, without importing
    it) and ``load()``, which imports and returns the adapter's module. For ``mpq demo``, ``demo()``
    returns a module whose ``run()`` yields (mpq_plugins.demo.DemoRow, Recipe) and whose ``RUNTIME``
    names what ran the converted models.
    """


@hookspec(firstresult=True)
def mpq_measure_latency(target: Target, workload: Any) -> float | None:
    """Measure one workload on the device itself.

    target: which hardware. workload: one op with its geometry and bits, as the adapter describes it.
    Returns seconds, or None when the plug-in does not serve this target or workload: then the next
    plug-in is asked, the last registered first.
    """

"""The plug-in contract: nine hooks, each a documented empty function.

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
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from mpq_plugins.costs.cost_models import CostModel
    from mpq_plugins.graph.op import Op
    from mpq_plugins.graph.runtimes.runtime import Runtime
    from mpq_plugins.hardware.device import Device
    from mpq_plugins.hardware.target import Target
    from mpq_plugins.hardware.workload import Workload
    from mpq_plugins.registry.adapter import Framework
    from mpq_plugins.search.method import PostTrainingMethod
    from mpq_plugins.sensitivity.rating import Sensitivity
    from mpq_plugins.training.method import TrainingMethod

PROJECT = "mpq_plugins"
"""pluggy's project name, and the entry-point group."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)
"""Marks a function as the implementation of the hook of its name."""


@hookspec
def mpq_register_ops(register: Callable[[Op], None]) -> None:
    """Offer ops: what a kind of node of a model computes, in one record.

    register: takes a mpq_plugins.graph.op.Op, and raises PluginError where it contradicts itself, or its word or one
    of its spellings is another op's. A function of one element (``table=True``) is read wherever a spelling of it
    stands in a model, and runs as a table of its codes on every runtime that has tables; an op of several inputs runs
    in its ``steps``, wherever a runtime has these; docs/writing-an-op.md. A
    plug-in's ops are there when its runtimes and targets are registered.
    """


@hookspec
def mpq_register_runtimes(register: Callable[[Runtime], None]) -> None:
    """Offer runtimes: how what executes a model rounds, and where it deviates, as data.

    register: takes a mpq_plugins.graph.runtimes.runtime.Runtime, which a target names by its framework and engine, and
    raises PluginError for laws that it does not know; docs/writing-a-runtime.md. Targets that contradict their runtime
    are refused.
    """


@hookspec
def mpq_register_sensitivities(register: Callable[[Sensitivity], None]) -> None:
    """Offer sensitivities: measures of what bits cost in accuracy.

    register: takes an object with ``name`` and ``rate(problem, sites)``: mpq_plugins.sensitivity.rating.Sensitivity.
    """


@hookspec
def mpq_register_targets(register: Callable[[Target], None]) -> None:
    """Offer hardware targets.

    register: takes a Target, and raises PluginError when it is none or its name is taken. Target is
    strict and raises TargetError by itself. To ship targets as files: ``register(Target.load(path))``.
    """


@hookspec
def mpq_register_methods(register: Callable[[PostTrainingMethod | TrainingMethod], None]) -> None:
    """Offer methods: ways to find or to train grids.

    register: takes an object of a subclass of PostTrainingMethod, or of RatingMethod, which has fronts and goes on
    after an interruption (mpq_plugins.search.method), or of TrainingMethod (mpq_plugins.training.method), with
    ``name``, ``summary`` (one line for ``mpq methods``) and, where there is one, ``paper``.
    """


@hookspec
def mpq_register_cost_models(register: Callable[[str, CostModel], None]) -> None:
    """Offer cost models: what a choice of bits costs.

    register: takes the name of the resource, under which ``Budget(other={name: limit})`` limits it,
    and an object with ``unit`` (text) and ``rows(inventory)``: mpq_plugins.costs.cost_models.CostModel.
    """


@hookspec
def mpq_register_frameworks(register: Callable[[Framework], None]) -> None:
    """Offer adapters of frameworks.

    register: takes an object with ``name``, ``summary``, ``requirement``, ``available()`` and ``load()``
    (mpq_plugins.registry.adapter.Framework). The same file has the contracts of what an adapter may offer besides:
    commands that take a user's model, files of models, formats to export, a demo, and the conformance kit.
    """


@hookspec(firstresult=True)
def mpq_measure_latency(target: Target, workload: Workload) -> float | None:
    """Measure one workload on the device itself: one sample of the seconds that one call takes.

    target: which hardware. workload: one quantized operator with its geometry and bits
    (mpq_plugins.hardware.workload.Workload), to be run on synthetic tensors. It is asked for again and
    again, in rounds over all workloads of a model: keep what is costly to prepare, and let a sample last
    long enough for the clock. Returns seconds, or None when the plug-in does not serve this target or
    workload: then the next plug-in is asked, the last registered first.
    """


@hookspec(firstresult=True)
def mpq_describe_device(target: Target) -> Device | None:
    """Say what the measurements of ``mpq_measure_latency`` for this target belong to.

    Returns a mpq_plugins.hardware.device.Device: facts that tell the device from others (tables are kept
    by them), and optionally which workloads run alike and what energy one takes; or None when the
    plug-in does not serve the target. A target that nobody describes is taken to be this machine.
    """

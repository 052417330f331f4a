"""Devices: what the hooks of a plug-in that measures say, asked in turn and checked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any

from mpq_plugins.errors import MPQError, PluginError, sentence
from mpq_plugins.hardware.target import Target

if TYPE_CHECKING:
    from mpq_plugins.hardware.device import Device


def measured(implementations: Sequence[Any], target: Target, workload: Any) -> float | None:
    """Seconds of a workload by the first plug-in that measures it, the last registered first; None if none does.

    Raises PluginError, naming the plug-in, when it fails or returns no duration.
    """
    offered = {"target": target, "workload": workload}
    for implementation in reversed(implementations):
        name = implementation.plugin_name
        try:
            seconds = implementation.function(*(offered[argument] for argument in implementation.argnames))
        except MPQError as error:
            raise PluginError(f"plug-in {name!r} cannot measure latency: {error}") from error
        except Exception as error:
            raise PluginError(f"plug-in {name!r} failed to measure latency: {sentence(error)}") from error
        if seconds is None:
            continue
        if isinstance(seconds, bool) or not isinstance(seconds, Real) or not 0 < float(seconds) < math.inf:
            raise PluginError(f"plug-in {name!r} measured {seconds!r}; a latency is a positive number of seconds")
        return float(seconds)
    return None


def described(implementations: Sequence[Any], target: Target) -> Device:
    """The device of a target by the first plug-in that describes it, else this machine.

    Raises PluginError, naming the plug-in, when it fails or returns no Device.
    """
    from mpq_plugins.hardware.device import Device, machine_facts

    for implementation in reversed(implementations):
        name = implementation.plugin_name
        try:
            device = implementation.function(*(target for _ in implementation.argnames))
        except Exception as error:
            raise PluginError(f"plug-in {name!r} failed to describe its device: {sentence(error)}") from error
        if device is not None and not isinstance(device, Device):
            raise PluginError(f"plug-in {name!r} describes its device as {device!r}; return a Device")
        if device is not None:
            return device
    return Device(target.name, machine_facts())

"""A device for the tests, registered through the hooks as any other, on a plug-in host of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from mpq_plugins import plugins
from mpq_plugins.hardware.device import Device
from mpq_plugins.hardware.op_support import ActivationGrids, OpSupport, WeightGrids
from mpq_plugins.hardware.target import Target
from mpq_plugins.hardware.workload import Workload
from mpq_plugins.plugins.hookspecs import hookimpl
from mpq_plugins.registry import process

TARGET = Target(
    name="fake-npu",
    ops={"*": OpSupport(weight=WeightGrids(bits=(4, 8)), activation=ActivationGrids(bits=(4, 8)))},
)
CONV = Workload("conv2d", ((3, 8, 8),), (4, 8, 8), (4, 3, 3, 3), (1, 1), (1, 1), (1, 1), 1, 8, 8)
LINEAR = Workload("linear", ((16,),), (4,), (4, 16), weight_bits=8, activation_bits=8)


@dataclass
class FakeDevice:
    """seconds: what a call of a workload gives, by the workload and the number of calls before it."""

    seconds: Callable[[Workload, int], Any]
    facts: dict[str, str] = field(default_factory=lambda: {"board": "rev 2"})
    energy: Callable[[Workload], float | None] | None = None
    as_run: Callable[[Workload], Workload | None] = lambda workload: workload
    asked: list[Workload] = field(default_factory=list)

    def device(self) -> Device:
        return Device(TARGET.name, self.facts, self.as_run, self.energy)

    def plug_in(self) -> Any:
        @hookimpl
        def mpq_measure_latency(target: Target, workload: Workload) -> Any:
            if target.name != TARGET.name:
                return None
            self.asked.append(workload)
            return self.seconds(workload, len(self.asked) - 1)

        @hookimpl
        def mpq_describe_device(target: Target) -> Device | None:
            return self.device() if target.name == TARGET.name else None

        return SimpleNamespace(mpq_measure_latency=mpq_measure_latency, mpq_describe_device=mpq_describe_device)

    def install(self, monkeypatch: Any) -> FakeDevice:
        """Let this process have the built-in plug-ins and this device, until the test ends."""
        host = plugins.PluginHost(entry_points=())
        host.register(self.plug_in(), "fake")
        monkeypatch.setattr(process, "_host", [host])
        return self

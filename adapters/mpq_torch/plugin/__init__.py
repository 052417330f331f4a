"""The torch adapter's plug-in: found by this distribution's own entry point. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mpq_plugins.hardware.device import Device
from mpq_plugins.hardware.target import Target
from mpq_plugins.hardware.workload import Workload
from mpq_plugins.plugins.hookspecs import hookimpl
from mpq_plugins.registry.adapter import Framework, PackagedAdapter, is_instance


class TorchFramework(PackagedAdapter):
    """What the core knows of torch before it is imported."""

    def __init__(self) -> None:
        super().__init__(
            name="torch",
            summary="torch.ao FX graph mode quantization",
            requirement="mpq-plugins[torch]",
            package="mpq_torch",
            facade="mpq_torch.fx",
            needed={"torch": "torch"},
            model_suffixes=(".pt2",),
            export_formats=("torch", "onnx", "litert"),
        )

    def owns(self, model: Any) -> bool:
        """Whether a model is torch's."""
        return is_instance(model, "torch.nn.modules.module", "Module")


@hookimpl
def mpq_register_frameworks(register: Callable[[Framework], None]) -> None:
    """Register torch."""
    register(TorchFramework())


@hookimpl
def mpq_measure_latency(target: Target, workload: Workload) -> float | None:
    """Time torch's own kernels, on targets that run on them, where torch is installed."""
    if not _runs(target):
        return None
    from mpq_torch.latency import torch_device

    return torch_device.seconds(target, workload)


@hookimpl
def mpq_describe_device(target: Target) -> Device | None:
    """This machine with the engine of the target."""
    if not _runs(target):
        return None
    from mpq_torch.latency import torch_device

    return torch_device.describe(target)


def _runs(target: Target) -> bool:
    return target.runtime is not None and target.runtime.framework == "torch" and TorchFramework().available()

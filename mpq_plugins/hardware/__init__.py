"""Hardware: targets, what their ops may use, devices, and the work that these are given."""

from __future__ import annotations

from mpq_plugins.hardware.device import Device
from mpq_plugins.hardware.op_support import ActivationGrids, Candidate, OpSupport, WeightGrids
from mpq_plugins.hardware.saturation import PairSaturation
from mpq_plugins.hardware.target import Runtime, Target
from mpq_plugins.hardware.workload import ModelWork, Workload

__all__ = [
    "ActivationGrids",
    "Candidate",
    "Device",
    "ModelWork",
    "OpSupport",
    "PairSaturation",
    "Runtime",
    "Target",
    "WeightGrids",
    "Workload",
]

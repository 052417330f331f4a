"""LiteRT's interpreter as a device: what its kernels make of bits, and what it cannot time. Needs no TensorFlow."""

from __future__ import annotations

import subprocess
import sys

import pytest

import mpq_plugins as mpq
from mpq_plugins import plugins
from mpq_plugins.builtin import litert_device
from mpq_plugins.hardware.workload import Workload


def test_packed_weights_are_workloads_of_their_own_where_the_runtime_packs_them() -> None:
    pointwise = Workload("conv2d", ((8, 4, 4),), (8, 4, 4), (8, 8, 1, 1), (1, 1), "same", (1, 1))
    wide = Workload("conv2d", ((8, 4, 4),), (8, 4, 4), (8, 8, 3, 3), (1, 1), "same", (1, 1))
    by_kernels = {
        kernels: [litert_device.as_run(w.at(3, 5), kernels) for w in (pointwise, wide)]
        for kernels in ("xnnpack", "builtin")
    }
    assert by_kernels == {
        "xnnpack": [pointwise.at(4, 8), wide.at(8, 8)],
        "builtin": [pointwise.at(4, 8), wide.at(4, 8)],
    }
    assert litert_device.as_run(pointwise.at(5, 5), "xnnpack") == pointwise.at(8, 8)


def test_a_clip_costs_nothing_where_the_container_clips() -> None:
    clip = Workload("clip", ((4, 4, 8),), (4, 4, 8), options=(("bounds", 2), ("own", False)))
    assert litert_device.as_run(clip.at(None, 8), "xnnpack") is None
    assert litert_device.as_run(clip.at(None, 5), "xnnpack") == litert_device.as_run(clip.at(None, 2), "xnnpack")


def test_a_float_op_that_is_not_known_is_named() -> None:
    work = Workload("float", ((4,),), (4,), options=(("what", "gelu"),))
    with pytest.raises(
        mpq.PluginError, match=r"plug-in 'builtin.litert' cannot measure latency: LiteRT has no kernel for float"
    ):
        plugins.host().measure_latency(plugins.target("litert-po2"), work)


def test_an_op_is_timed_without_tensorflow() -> None:
    code = (
        "import sys; sys.modules['tensorflow'] = None\n"
        "from mpq_plugins import plugins\n"
        "from mpq_plugins.hardware.workload import Workload\n"
        "work = Workload('linear', ((16,),), (4,), (4, 16), weight_bits=8, activation_bits=8)\n"
        "print(plugins.host().measure_latency(plugins.target('litert-po2'), work) > 0)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "True\n"

from __future__ import annotations

import json

import pytest

from mpq_plugins.errors import CostError
from mpq_plugins.hardware.workload import Workload
from mpq_plugins.tests.fake_device import CONV, LINEAR

DEPTHWISE = Workload("depthwise_conv2d", ((24, 10, 10),), (24, 5, 5), (24, 1, 3, 3), (2, 2), (1, 1), (1, 1), 24)
TRANSPOSED = Workload("conv_transpose2d", ((6, 4, 4),), (8, 8, 8), (6, 8, 2, 2), (2, 2), (0, 0), (1, 1))
POOL = Workload("max_pool", ((8, 4, 4),), (8, 2, 2), options=(("kernel_size", 2), ("stride", (2, 2))))


@pytest.mark.parametrize(
    ("workload", "macs", "columns", "channels"),
    [
        (CONV, 64 * 4 * 3 * 9, 27, 4),
        (LINEAR, 64, 16, 4),
        (DEPTHWISE, 25 * 24 * 9, 9, 24),
        (TRANSPOSED, 16 * 6 * 8 * 4, 24, 8),
        (POOL, 0, 0, 0),
    ],
    ids=["conv", "linear", "depthwise", "transposed", "pool"],
)
def test_the_geometry_gives_the_multiplications(workload, macs, columns, channels):
    assert (workload.macs, workload.columns, workload.channels) == (macs, columns, channels)


@pytest.mark.parametrize("workload", [CONV, LINEAR, DEPTHWISE, TRANSPOSED, POOL], ids=lambda w: w.op)
def test_a_workload_survives_json_and_is_found_again_in_a_dictionary(workload):
    again = Workload.from_dict(json.loads(json.dumps(workload.to_dict())))
    assert again == workload
    assert {workload: 1}[again] == 1


def test_the_order_of_options_does_not_matter():
    turned = Workload("max_pool", ((8, 4, 4),), (8, 2, 2), options=(("stride", (2, 2)), ("kernel_size", 2)))
    assert turned == POOL


def test_a_batch_multiplies_the_macs():
    assert Workload("linear", ((16,),), (4,), (4, 16), batch=3).macs == 3 * 64


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"op": " "}, "name of its op"),
        ({"output": (4, 0)}, "shape of output"),
        ({"inputs": ((-1,),)}, "shape of an input"),
        ({"weight_bits": 0}, "weight_bits must be from 1 to 64, got 0"),
        ({"batch": 0}, "groups and batch"),
    ],
)
def test_nonsense_is_refused_with_the_field(fields, message):
    with pytest.raises(CostError, match=message):
        Workload(**{"op": "linear", "inputs": ((4,),), "output": (2,), **fields})


def test_an_unknown_field_in_a_file_is_named():
    with pytest.raises(CostError, match="color"):
        Workload.from_dict({"op": "linear", "inputs": [[4]], "output": [2], "color": "red"})

"""The analytic array against numbers worked out by hand."""

from __future__ import annotations

import pytest

from mpq_plugins import plugins
from mpq_plugins.builtin.bit_array import NAME, BitArray
from mpq_plugins.costs.cost_models import cost_of
from mpq_plugins.errors import CostError, PluginError
from mpq_plugins.hardware.workload import ModelWork, Workload
from mpq_plugins.inventory import Inventory, Site
from mpq_plugins.latency.measuring import sample
from mpq_plugins.latency.model_latency import describe, measure_model
from mpq_plugins.latency.timing_store import TimingStore
from mpq_plugins.search_input import candidates_for

# 16 x 16 units of 16 bricks: an 8 x 8 product takes 16 bricks, so a unit makes 1 a cycle; 4 x 4 takes 4, so it makes 4
ARRAY = BitArray(
    rows=16, columns=16, bytes_per_cycle=16, clock_hz=5e8, picojoules_per_mac=1.0, picojoules_per_byte=10.0
)
# 144 products for each of 32 outputs at 256 positions
CONV = Workload("conv2d", ((16, 32, 32),), (32, 16, 16), (32, 16, 3, 3), (2, 2), (1, 1))
# 1024 products for each of 1000 outputs, once
LINEAR = Workload("linear", ((1024,),), (1000,), (1000, 1024))


@pytest.mark.parametrize(
    ("bits", "products"), [((8, 8), 1), ((5, 8), 1), ((4, 8), 2), ((3, 4), 4), ((4, 4), 4), ((2, 4), 8), ((2, 2), 16)]
)
def test_a_unit_makes_more_products_of_fewer_bits(bits, products):
    assert ARRAY.products(*bits) == products


@pytest.mark.parametrize(
    ("bits", "cycles"),
    [
        ((8, 8), 9 * 2 * 256),  # ceil(144 / 16) passes over the rows, ceil(32 / 16) over the columns
        ((4, 8), 5 * 2 * 256),  # ceil(144 / 32)
        ((4, 4), 3 * 2 * 256),  # ceil(144 / 64)
        ((2, 2), 1 * 2 * 256),  # ceil(144 / 256) = 512, and moving takes (4608 * 2 + 24576 * 2) / 8 / 16 = 456
    ],
)
def test_a_convolution_is_bound_by_the_array(bits, cycles):
    assert ARRAY.cycles(CONV.at(*bits)) == cycles
    assert ARRAY.seconds(CONV.at(*bits)) == cycles / 5e8


@pytest.mark.parametrize(
    ("bits", "cycles"),
    [
        ((8, 8), 64127),  # ceil((1024000 * 8 + 2024 * 8) / 8 / 16), over 64 * 63 of the array
        ((4, 8), 32127),  # ceil((1024000 * 4 + 2024 * 8) / 8 / 16)
    ],
)
def test_a_dense_layer_is_bound_by_memory(bits, cycles):
    assert ARRAY.cycles(LINEAR.at(*bits)) == cycles
    assert ARRAY.compute_cycles(LINEAR.at(8, 8)) == 64 * 63


def test_energy_is_that_of_the_products_and_of_the_bytes():
    # 1179648 products at a quarter of 1 pJ; (4608 + 16384 + 8192) / 2 bytes at 10 pJ
    assert ARRAY.joules(CONV.at(4, 4)) == pytest.approx((294912 + 14592 * 10) * 1e-12)
    assert BitArray().joules(CONV.at(4, 4)) is None


def test_it_answers_through_the_hook_like_any_other_device():
    target = plugins.target(NAME)
    assert sample(target, CONV.at(8, 8)) == 4608 / 500e6
    assert describe(target).modelled
    with pytest.raises(PluginError, match=r"multiplies up to 8 by 8 bits, and .* has 8-bit weights and 32-bit"):
        sample(target, CONV.at(8, 32))
    with pytest.raises(CostError, match="None-bit"):
        BitArray().seconds(CONV)


def test_its_table_makes_a_budget():
    conv = Site("conv.weight", "weight", "conv2d", (32, 16, 3, 3), CONV.macs, 0, True, ("x",))
    inventory = Inventory([Site("x", "activation", "input", (16, 32, 32)), conv])
    target = plugins.target(NAME)
    candidates = candidates_for(inventory, target)
    store = TimingStore(describe(target))
    table = measure_model(ModelWork({"conv.weight": (CONV,)}), inventory, target, candidates, store=store)
    assert table.milliseconds["conv.weight"][4, 8] == pytest.approx(1e3 * 2560 / 500e6)
    assert cost_of(table, inventory, {"x": 4, "conv.weight": 4}) == pytest.approx(1e3 * 1536 / 500e6)
    assert table.energy is None

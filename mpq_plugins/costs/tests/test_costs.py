from __future__ import annotations

import pytest

from mpq_plugins.costs.cost_models import COST_MODELS, CostRow, CostTerm, cost_of
from mpq_plugins.costs.latency_table import LatencyTable
from mpq_plugins.errors import CostError
from mpq_plugins.inventory import Inventory, Site

# input x (48) -> conv (10 x 27 weights, 1000 MACs) -> a (32) -> linear (5 x 32 weights, 160 MACs) -> y (5)
NET = Inventory(
    [
        Site("x", "activation", "input", (3, 4, 4)),
        Site("conv.weight", "weight", "conv2d", (10, 3, 3, 3), macs=1000, inputs=("x",)),
        Site("a", "activation", "conv2d", (32,), inputs=("x",)),
        Site("fc.weight", "weight", "linear", (5, 32), macs=160, inputs=("a",)),
        Site("y", "activation", "linear", (5,), inputs=("a",)),
    ],
    live=[("x", "a"), ("a", "y", "a")],
)
BITS = {"x": 8, "conv.weight": 3, "a": 4, "fc.weight": 6, "y": 2}


def test_weight_bytes_are_elements_times_bits_over_eight():
    assert cost_of(COST_MODELS["weight_bytes"], NET, BITS) == (270 * 3 + 160 * 6) / 8


def test_average_weight_bits_are_weighted_by_elements():
    assert cost_of(COST_MODELS["average_weight_bits"], NET, BITS) == pytest.approx((270 * 3 + 160 * 6) / 430, rel=1e-14)


def test_average_activation_bits_are_weighted_by_the_elements_of_all_sites():
    found = cost_of(COST_MODELS["average_activation_bits"], NET, BITS)
    assert found == pytest.approx((48 * 8 + 32 * 4 + 5 * 2) / 85, rel=1e-14)


def test_activation_bytes_are_the_largest_live_set_and_count_a_site_once():
    assert cost_of(COST_MODELS["activation_bytes"], NET, BITS) == (48 * 8 + 32 * 4) / 8
    assert cost_of(COST_MODELS["activation_bytes"], NET, BITS | {"x": 1, "y": 16, "a": 8}) == (32 * 8 + 5 * 16) / 8


def test_bops_are_macs_times_weight_bits_times_input_bits():
    assert cost_of(COST_MODELS["bops"], NET, BITS) == 1000 * 3 * 8 + 160 * 6 * 4


def test_a_weight_that_names_no_input_multiplies_floats_of_32_bits():
    lone = Inventory([Site("w", "weight", "linear", (2, 2), macs=4)])
    assert cost_of(COST_MODELS["bops"], lone, {"w": 5}) == 4 * 5 * 32


def test_a_shared_weight_spreads_its_macs_over_its_inputs():
    acts = [Site(name, "activation", "input", (2,)) for name in "pq"]
    shared = Inventory([*acts, Site("w", "weight", "linear", (2, 2), macs=8, inputs=("p", "q"))])
    assert cost_of(COST_MODELS["bops"], shared, {"w": 4, "p": 2, "q": 8}) == 4 * 4 * 2 + 4 * 4 * 8


def test_a_model_without_weights_costs_nothing_to_store():
    only_input = Inventory([Site("x", "activation", "input", (3,))], live=[("x",)])
    for name in ("weight_bytes", "average_weight_bits", "bops"):
        assert cost_of(COST_MODELS[name], only_input, {"x": 8}) == 0


def test_a_peak_needs_to_know_what_lives_together():
    with pytest.raises(CostError, match="no live sets"):
        cost_of(COST_MODELS["activation_bytes"], Inventory(NET.sites), BITS)


def test_a_counted_site_without_bits_is_named():
    with pytest.raises(CostError, match=r"fc\.weight"):
        cost_of(COST_MODELS["weight_bytes"], NET, {"conv.weight": 4})


def test_a_cost_model_is_any_object_with_a_unit_and_rows():
    class BankedMemory:
        unit = "words"

        def rows(self, inventory):
            return [
                CostRow("bank 0", [CostTerm(("conv.weight",), lambda bits: 10 * bits), CostTerm((), lambda: 5)]),
                CostRow("bank 1", [CostTerm(("fc.weight", "a"), lambda bits, others: bits * others)]),
            ]

    assert cost_of(BankedMemory(), NET, BITS) == 35
    assert cost_of(BankedMemory(), NET, BITS | {"a": 16}) == 96


@pytest.mark.parametrize("cost", [float("nan"), float("inf"), -1.0])
def test_a_cost_that_is_no_cost_is_refused_with_the_site_and_bits(cost):
    term = CostTerm(("fc.weight", "a"), lambda bits, others: cost)
    with pytest.raises(CostError, match=r"6 bits of fc\.weight and 4 bits of a"):
        term(6, 4)


@pytest.mark.parametrize("sites", ["conv.weight", ("a", "b", "c"), ("a", "a")])
def test_a_term_takes_no_site_one_or_two_different_ones(sites):
    with pytest.raises(CostError):
        CostTerm(sites, lambda *bits: 0.0)


TABLE = {
    "conv.weight": {(w, a): 0.01 * w + 0.001 * a for w in (3, 6) for a in (4, 8)},
    "linear 5x32": {6: 0.25, 3: 0.125},
    "a": {4: 0.5},
}


def test_a_latency_table_sums_the_ops_that_it_knows_and_the_overhead():
    table = LatencyTable(TABLE, workloads={"fc.weight": "linear 5x32"}, overhead_ms=2.0)
    expected = 2.0 + (0.03 + 0.008) + 0.25 + 0.5
    assert cost_of(table, NET, BITS) == pytest.approx(expected, rel=1e-14)
    assert table.unit == "ms"


def test_a_weight_of_several_calls_takes_its_time_once_for_each():
    acts = [Site(name, "activation", "input", (2,)) for name in "pq"]
    shared = Inventory([*acts, Site("w", "weight", "linear", (2, 2), macs=8, inputs=("p", "q"))])
    bits = {"w": 4, "p": 2, "q": 8}
    assert cost_of(LatencyTable({"w": {(4, 2): 1.0, (4, 8): 3.0}}), shared, bits) == 4.0
    assert cost_of(LatencyTable({"w": {4: 1.5}}), shared, bits) == 3.0


def test_a_weight_of_float_activations_is_looked_up_at_32_bits():
    lone = Inventory([Site("w", "weight", "linear", (2, 2), macs=4)])
    assert cost_of(LatencyTable({"w": {(8, 32): 0.5}}), lone, {"w": 8}) == 0.5


def test_a_hole_in_a_latency_table_is_named_with_what_there_is():
    table = LatencyTable(TABLE, workloads={"fc.weight": "linear 5x32"})
    with pytest.raises(CostError) as error:
        cost_of(table, NET, BITS | {"conv.weight": 5})
    assert "conv.weight at 5-bit weights with 8-bit activations" in str(error.value)
    assert "3-bit weights with 4-bit activations" in str(error.value)
    with pytest.raises(CostError, match=r"fc\.weight \(workload linear 5x32\) at 4 bits; it has 6 bits, 3 bits"):
        cost_of(table, NET, BITS | {"fc.weight": 4})


def test_a_weight_that_the_table_does_not_know_is_named():
    with pytest.raises(CostError, match=r"no entry for fc\.weight"):
        cost_of(LatencyTable(TABLE), NET, BITS)


def test_an_activation_has_no_pairs():
    lone = Inventory([Site("a", "activation", "add", (2,))])
    with pytest.raises(CostError, match="a is an activation"):
        cost_of(LatencyTable({"a": {(8, 8): 1.0}}), lone, {"a": 8})


@pytest.mark.parametrize("wrong", [{"w": {}}, {"w": {4: 1.0, (4, 4): 1.0}}, {"w": {(4, 4, 4): 1.0}}, {"w": {4: -1.0}}])
def test_a_malformed_table_is_refused_by_the_name_of_its_entry(wrong):
    with pytest.raises(CostError, match="'w'"):
        LatencyTable(wrong)

"""Which grids every site may get, from the target and from what the user allows."""

from __future__ import annotations

import pytest

from mpq_plugins.costs.budget import Budget
from mpq_plugins.errors import BudgetError, TargetError, UnsupportedOp
from mpq_plugins.hardware.target import Target
from mpq_plugins.inventory import Inventory, Site
from mpq_plugins.search_input import candidates_for, check_budget

TARGET = Target(
    name="npu",
    ops={
        "*": {"weight": {"bits": [2, 4, 8], "granularity": ["tensor", "channel"]}, "activation": {"bits": [4, 8]}},
        "conv2d": {"weight": {"bits": [4, 8], "granularity": ["channel"], "narrow": True}},
        "add": {"activation": {"bits": [8], "unsigned": False}},
        "concat": {"activation": {"bits": [4, 6]}},
    },
)
SITES = [
    Site("x", "activation", "input", (3,)),
    Site("conv.weight", "weight", "conv2d", (4, 3, 1, 1), channel_axis=0),
    Site("conv", "activation", "conv2d", (4,), signed=False),
    Site("fc.weight", "weight", "linear", (2, 4), channel_axis=0),
    Site("fc", "activation", "linear", (2,)),
]


def bits_of(candidates):
    return {name: [c.bits for c in kinds] for name, kinds in candidates.items()}


def test_without_a_wish_every_site_gets_what_the_target_has():
    found = candidates_for(Inventory(SITES), TARGET)
    assert bits_of(found) == {
        "x": [4, 8],
        "conv.weight": [4, 8],
        "conv": [4, 8],
        "fc.weight": [2, 4, 8],
        "fc": [4, 8],
    }
    assert {c.signed for c in found["x"]} == {True}
    assert {c.signed for c in found["conv"]} == {False}
    assert {c.narrow for c in found["conv.weight"]} == {True}


@pytest.mark.parametrize(
    ("bits", "expected"),
    [
        (8, ([8], [8])),
        ((8, 4), ([4, 8], [4, 8])),
        ({"conv*": 8}, ([8], [2, 4, 8])),
        ({"fc.weight": (2, 4), "*": 8}, ([8], [2, 4])),
        ({"*": 8, "fc.weight": 2}, ([8], [8])),
        ({"*.weight": [4]}, ([4], [4])),
    ],
)
def test_weight_bits_are_a_number_several_or_the_first_pattern_that_fits(bits, expected):
    found = bits_of(candidates_for(Inventory(SITES), TARGET, weight_bits=bits))
    assert (found["conv.weight"], found["fc.weight"]) == expected
    assert found["x"] == [4, 8]


def test_activation_bits_leave_weights_alone():
    found = bits_of(candidates_for(Inventory(SITES), TARGET, activation_bits={"x": 8, "*": 4}))
    assert (found["x"], found["conv"], found["fc"]) == ([8], [4], [4])
    assert found["fc.weight"] == [2, 4, 8]


@pytest.mark.parametrize(("wish", "linear"), [(None, True), (True, True), (False, False)])
def test_channels_have_steps_of_their_own_where_there_is_a_choice_and_nobody_objects(wish, linear):
    found = candidates_for(Inventory(SITES), TARGET, per_channel=wish)
    assert {c.per_channel for c in found["fc.weight"]} == {linear}
    assert {c.per_channel for c in found["conv.weight"]} == {True}  # it has nothing else
    assert {c.per_channel for c in found["x"]} == {False}


def test_bits_that_are_not_to_be_had_are_refused_with_those_that_are():
    with pytest.raises(
        TargetError, match=r"site 'conv\.weight': none of 2 bits .* weight of conv2d on target 'npu', which offers 4, 8"
    ):
        candidates_for(Inventory(SITES), TARGET, weight_bits=2)
    with pytest.raises(TargetError, match=r"site 'x': none of no bits"):
        candidates_for(Inventory(SITES), TARGET, activation_bits=())


@pytest.mark.parametrize("wrong", [4.0, "4", {"conv*": 4.0, "*": 8}, (4, True)])
def test_bits_that_are_no_whole_numbers_are_refused_with_what_they_may_be(wrong):
    with pytest.raises(TargetError, match="weight_bits is a whole number, several, or a mapping from patterns"):
        candidates_for(Inventory(SITES), TARGET, weight_bits=wrong)


def test_sites_of_one_group_keep_the_bits_that_all_of_them_have():
    grouped = [
        Site("a", "activation", "linear", (2,), group="a"),
        Site("b", "activation", "concat", (2,), group="a"),
        Site("alone", "activation", "linear", (2,)),
    ]
    assert bits_of(candidates_for(Inventory(grouped), TARGET)) == {"a": [4], "b": [4], "alone": [4, 8]}


def test_sites_of_one_group_without_common_bits_are_refused_by_name():
    grouped = [
        Site("a", "activation", "add", (2,), group="a"),
        Site("b", "activation", "concat", (2,), group="a"),
    ]
    with pytest.raises(TargetError, match="sites a, b must share one grid and have no common bits"):
        candidates_for(Inventory(grouped), TARGET)


def test_what_is_no_budget_is_refused():
    with pytest.raises(
        BudgetError, match=r"a budget is a Budget, such as Budget\(average_weight_bits=4\), and not '4'"
    ):
        check_budget(candidates_for(Inventory(SITES), TARGET), "4")


def test_values_below_zero_decide_the_sign_and_a_target_without_unsigned_grids_gives_signed_ones():
    sites = [Site("sum", "activation", "add", (2,), signed=False)]
    assert [c.signed for c in candidates_for(Inventory(sites), TARGET)["sum"]] == [True]


def test_an_op_that_the_target_does_not_run_is_refused_by_site():
    target = Target(name="tiny", ops={"linear": {"weight": {}, "activation": {}}})
    with pytest.raises(UnsupportedOp, match="site 'x': target 'tiny' does not run input"):
        candidates_for(Inventory(SITES), target)


def test_a_budget_is_needed_where_something_is_left_to_choose():
    open_ended = candidates_for(Inventory(SITES), TARGET, activation_bits=8)
    with pytest.raises(BudgetError, match=r"2 sites \(conv\.weight, fc\.weight, \.\.\.\) have several candidate"):
        check_budget(open_ended, None)
    check_budget(open_ended, Budget(weight_bytes=10))
    check_budget(candidates_for(Inventory(SITES), TARGET, weight_bits=8, activation_bits=8), None)

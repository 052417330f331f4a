"""What the oracle says of a difference: network, target, kind of thing, and the first site."""

import json

from integration_tests.oracle import stored
from integration_tests.oracle.comparing import differences

RECIPE = {"recipe": "aa", "sites": {"x": "01", "conv": "02", "fc": "03"}, "outputs": [0.5]}
RECORDED = {"inventory": ["x, input", "fc, linear"], "recipes": {"torch-x86 3": RECIPE}}


def changed(**values):
    return {**RECORDED, "recipes": {"torch-x86 3": {**RECIPE, **values}}}


def test_equal_things_have_no_difference():
    assert differences(RECORDED, json.loads(json.dumps(RECORDED)), ("Net",)) == []


def test_a_difference_names_the_first_site_and_counts_the_others():
    found = changed(sites={"x": "01", "conv": "12", "fc": "13"})
    assert differences(RECORDED, found, ("Net",)) == ["Net, recipes, torch-x86 3, sites, conv: 02 -> 12 (and 1 more)"]


def test_a_site_that_is_gone_or_new_is_a_difference():
    found = changed(sites={"x": "01", "conv2": "02", "fc": "03"})
    assert differences(RECORDED, found, ("Net",)) == [
        "Net, recipes, torch-x86 3, sites, conv: 02 -> nothing (and 1 more)"
    ]


def test_an_inventory_that_differs_is_shown_at_its_first_site():
    found = {**RECORDED, "inventory": ["x, input", "fc, conv2d", "more"]}
    assert differences(RECORDED, found, ("Net",)) == ["Net, inventory, 1: fc, linear -> fc, conv2d (and 1 more)"]


def test_a_network_that_was_never_recorded_is_a_difference():
    assert differences({}, {"inventory": ["x"]}, ("Net",)) == ["Net: nothing -> {'inventory': ['x']}"]


def test_what_could_not_run_here_is_not_compared():
    assert differences(RECORDED, changed(recipe=None), ("Net",)) == []


def test_float_ends_may_differ_in_their_last_digits():
    assert differences(RECORDED, changed(outputs=[0.500001]), ("Net",)) == []
    assert differences(RECORDED, changed(outputs=[0.51]), ("Net",)) == [
        "Net, recipes, torch-x86 3, outputs: [0.5] -> [0.51]"
    ]


def test_what_is_saved_is_read_back(tmp_path):
    stored.save("net", {"Net": RECORDED}, tmp_path)
    assert stored.load("net", tmp_path) == {"Net": RECORDED}
    assert stored.load("other", tmp_path) == {}

"""Whole Keras networks compute what they computed when the oracle was recorded, bit for bit."""

import pytest

from integration_tests.oracle.checking import assert_as_recorded
from integration_tests.oracle.keras_networks.blocks import BLOCKS


@pytest.mark.parametrize("name", [make.__name__ for make in BLOCKS])
def test_a_whole_network_computes_what_was_recorded(name):
    assert_as_recorded("keras", name)

"""Keras layers with every option compute what they computed when the oracle was recorded."""

import pytest

from integration_tests.oracle.checking import assert_as_recorded
from integration_tests.oracle.keras_networks.layers import LAYERS


@pytest.mark.parametrize("name", [make.__name__ for make in LAYERS])
def test_layers_with_every_option_compute_what_was_recorded(name):
    assert_as_recorded("keras", name)

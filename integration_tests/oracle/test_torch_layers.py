"""Torch layers with every option compute what they computed when the oracle was recorded."""

import pytest

from integration_tests.oracle.checking import assert_as_recorded
from integration_tests.oracle.torch_networks.layers import LAYERS

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("name", [kind.__name__ for kind in LAYERS])
def test_layers_with_every_option_compute_what_was_recorded(name):
    assert_as_recorded("torch", name)

"""Whole torch networks compute what they computed when the oracle was recorded, bit for bit."""

import pytest

from integration_tests.oracle.checking import assert_as_recorded
from integration_tests.oracle.torch_networks.blocks import BLOCKS

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("name", [kind.__name__ for kind in BLOCKS])
def test_a_whole_network_computes_what_was_recorded(name):
    assert_as_recorded("torch", name)

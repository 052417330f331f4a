"""What fx.constrain makes of weights and biases with data is what it made when the oracle was recorded."""

import pytest

from integration_tests.oracle.checking import assert_constrained_as_recorded
from integration_tests.oracle.torch_networks import ROUNDED

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("name", ROUNDED)
def test_weights_and_biases_are_rounded_with_data_as_recorded(name):
    assert_constrained_as_recorded("torch", name)

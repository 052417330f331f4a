"""Every spelling of an op in torch computes what it computed when the oracle was recorded."""

import pytest

from integration_tests.oracle.checking import assert_as_recorded
from integration_tests.oracle.torch_networks.spellings import SPELLINGS

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("name", [kind.__name__ for kind in SPELLINGS])
def test_every_spelling_of_an_op_computes_what_was_recorded(name):
    assert_as_recorded("torch", name)

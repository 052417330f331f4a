"""A training step costs a fixed number of operations beside the network's own, and reads nothing back.

The most that each may cost stand here; benchmarks.training_step prints what each costs. They are counts, so
that neither a GPU nor a clock is needed: on a GPU a step of a small network takes as long as it has operations.
"""

import pytest
import torch

from benchmarks.training_step import HOST_READ, METHODS, fixed, network, operations, searching

SEARCHING, FIXED = 1450, 900
BODIES_SEARCHING, BODIES_FIXED = 2900, 1300
"""Of ResNet-20, whose float step costs 481 and torch.ao's QAT 1,006; bodies: with what our own ops consist of."""


@pytest.fixture(scope="module")
def resnet20():
    torch.manual_seed(0)
    return network(20), torch.randn(2, 3, 32, 32), torch.randint(0, 10, (2,))


@pytest.mark.parametrize("method", METHODS)
def test_a_search_step_stays_within_its_operations(method, resnet20):
    model, x, y = resnet20
    training = searching(model, method, x)
    counted = operations(training, x, y)
    assert counted.total <= SEARCHING
    assert counted.seen[HOST_READ] == 0
    assert operations(training, x, y, bodies=True).total <= BODIES_SEARCHING


@pytest.mark.parametrize("per_channel", [False, True], ids=["per tensor", "per channel"])
@pytest.mark.parametrize("method", ["hmq", "sdq", "fdqmp"])
def test_searching_activations_too_and_per_channel_costs_at_most_1_3_times_as_much(method, per_channel, resnet20):
    model, x, y = resnet20
    training = searching(model, method, x, per_channel, activations=True)
    counted = operations(training, x, y)
    assert counted.total <= 1.3 * SEARCHING
    assert counted.seen[HOST_READ] == 0
    assert operations(training, x, y, bodies=True).total <= 1.3 * BODIES_SEARCHING


@pytest.mark.parametrize("method", METHODS)
def test_a_step_at_fixed_grids_stays_within_its_operations(method, resnet20):
    model, x, y = resnet20
    training = fixed(model, method, x, y)
    counted = operations(training, x, y)
    assert counted.total <= FIXED
    assert counted.seen[HOST_READ] == 0
    assert operations(training, x, y, bodies=True).total <= BODIES_FIXED


@pytest.mark.parametrize("method", ["hmq", "fdqmp"])
def test_depth_adds_the_networks_operations_and_no_methods(method):
    """Beside the float network's, a block of two layers costs about what it does in torch.ao's QAT."""
    torch.manual_seed(0)
    x, y = torch.randn(2, 3, 32, 32), torch.randint(0, 10, (2,))
    shallow, deep = (operations(searching(network(depth), method, x), x, y).total for depth in (8, 14))
    assert deep - shallow <= 3 * 75

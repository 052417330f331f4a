"""What was converted, and what was made on the way, is gone with the last name that a user has for it."""

import gc

import pytest
import torch
from torch import nn

from mpq_torch import fx, pt2e


def graph_modules():
    """How many there are: each has a class of its own."""
    gc.collect()
    return len(torch.fx.GraphModule.__subclasses__())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("verbs", "target"), [(fx, "torch-x86"), (pt2e, "torch-pt2e")], ids=["fx", "pt2e"])
def test_nothing_is_left_of_a_conversion_whose_model_nobody_keeps(verbs, target):
    model, x = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU()).eval(), torch.randn(2, 2, 5, 5)
    recipe = verbs.search(model, [x], target, weight_bits=4)
    on_grid = verbs.constrain(model, recipe, [x])
    left = []
    for _ in range(3):
        converted = verbs.quantize(on_grid, recipe, x)
        verbs.verify(converted, verbs.simulate(on_grid, recipe), [x]).raise_if_different()
        del converted
        left.append(graph_modules())
    assert left[2] <= left[0]

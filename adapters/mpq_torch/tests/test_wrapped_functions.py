"""Functions that fx.wrap keeps whole are looked into where they can be traced."""

import pytest
import torch
import torch.nn.functional as F
from torch import fx, nn

from mpq_torch.tests.written import graph_of, written


@fx.wrap
def projected(x, weight):
    """Adds a pattern that is made of sizes, and filled element by element."""
    pattern = x.new_zeros((x.shape[1], 3))
    for index in range(2):
        pattern[index:, 1] = index + 1.0
    return F.relu(F.linear(x, weight)) + pattern


@fx.wrap
def decided(x, weight):
    """Decides by the data."""
    y = F.linear(x, weight)
    return -y if float(y.sum()) < 0 else y


@fx.wrap
def halved(x):
    """Has no weight."""
    return x / 2


for function in (projected, decided, halved):
    function.__module__ = "users"  # what this package wraps itself it keeps whole, and these are a user's


class Projected(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last, self.weight = nn.Linear(4, 6), nn.Linear(3, 2), nn.Parameter(torch.randn(3, 6))

    def forward(self, x):
        return self.last(projected(self.first(x), self.weight))


class Decided(Projected):
    def forward(self, x):
        return self.last(decided(self.first(x), self.weight))


class Halved(Projected):
    def forward(self, x):
        return self.last(halved(self.first(x))[..., :3])


@pytest.mark.parametrize(("made", "layers", "whole"), [(Projected, 3, ()), (Decided, 2, ("decided",)), (Halved, 2, ())])
def test_a_wrapped_function_is_looked_into_where_it_can_be_traced(made, layers, whole):
    torch.manual_seed(0)
    model, x = made().eval(), torch.randn(4, 5, 4)
    graph = graph_of(model, x)
    assert len(graph.layers) == layers
    assert tuple(name for name in graph.float_ops if name in ("projected", "decided", "halved")) == whole
    torch.testing.assert_close(written(model, x)(x), model(x))

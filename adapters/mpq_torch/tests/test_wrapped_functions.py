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


class Reversible(torch.autograd.Function):
    """Keeps what its backward needs, and empties what it does not."""

    @staticmethod
    def forward(ctx, x, layer, *weights):
        a, b = (half.contiguous() for half in x.chunk(2, 1))
        y = torch.cat([a + layer(b), b], 1)
        a.set_(), b.set_()
        ctx.save_for_backward(x, y)
        ctx.mark_non_differentiable(y)
        return y

    @staticmethod
    def backward(ctx, grad):
        raise NotImplementedError


class Apart(torch.autograd.Function):
    """Says apart from its forward what its backward needs."""

    @staticmethod
    def forward(x, layer, *weights):
        a, b = x.chunk(2, 1)
        return torch.cat([a + layer(b), b], 1)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(inputs[0], output)


class Applied(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.first, self.layer, self.apply_function = nn.Conv2d(3, 4, 1), nn.Conv2d(2, 2, 1), function.apply

    def forward(self, x):
        return self.apply_function(self.first(x), self.layer, *self.layer.parameters())


@pytest.mark.parametrize("function", [Reversible, Apart])
def test_a_function_with_a_backward_of_its_own_is_looked_into(function):
    torch.manual_seed(0)
    model, x = Applied(function).eval(), torch.randn(2, 3, 5, 5)
    assert len(graph_of(model, x).layers) == 2
    torch.testing.assert_close(written(model, x)(x), model(x))
    assert model(x).grad_fn is not None or function is Reversible  # torch's own apply is back

"""Ops that overwrite their input: the written model computes what the float model computes."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mpq_torch.tests.networks import settled
from mpq_torch.tests.written import written


class Preactivated(nn.Module):
    """A residual whose shortcut is read after an op that may have overwritten it."""

    def __init__(self, op, norm=False):
        super().__init__()
        self.first, self.second = nn.Conv2d(2, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1)
        self.norm = nn.BatchNorm2d(3) if norm else nn.Identity()
        self.last = nn.Conv2d(3, 2, 1)
        self.op = op

    def forward(self, x):
        y = self.norm(self.first(x))
        return self.last(self.second(self.op(y)) + y)


OPS = [
    nn.ReLU(inplace=True),
    nn.ReLU6(inplace=True),
    nn.Hardtanh(inplace=True),
    nn.Hardswish(inplace=True),
    lambda y: F.relu(y, inplace=True),
    F.relu_,
    torch.relu_,
    lambda y: y.relu_(),
    lambda y: y.clamp_(0, 1),
    lambda y: y.add_(y),
    lambda y: F.hardtanh_(y, -1.0, 1.0),
    nn.ReLU(),
    F.relu,
    lambda y: y + y,
]


@pytest.mark.parametrize("norm", [False, True])
@pytest.mark.parametrize("op", OPS, ids=range(len(OPS)))
def test_a_later_reader_of_an_overwritten_tensor_reads_what_was_written(op, norm):
    torch.manual_seed(0)
    model = settled(Preactivated(op, norm))
    x = torch.randn(2, 2, 5, 5) * 2
    with torch.no_grad():
        torch.testing.assert_close(written(model, x)(x), model(x), atol=2e-6, rtol=2e-6)


def test_sizes_are_numbers_and_are_not_overwritten():
    class Sized(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 2)

        def forward(self, x):
            n = x.size(0)
            m = n
            m += 0
            return self.fc(x.reshape(n, -1)).view(m, 2)

    model, x = Sized().eval(), torch.randn(3, 2, 2)
    assert torch.equal(written(model, x)(x), model(x))

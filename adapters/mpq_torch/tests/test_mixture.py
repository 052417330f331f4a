"""Mixtures of grids: written out as accelerators run them, they give what the passes of a CPU give."""

import pytest
import torch

from mpq_torch.array_ops.mixture import mixed
from mpq_torch.array_ops.rounding_function import PLAIN, Rounding


@pytest.mark.parametrize("rounding", [PLAIN, Rounding("ewgs", 0.5)], ids=["plain", "surrogate"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_mixture_is_the_sum_of_its_grids_wherever_it_runs(channels, rounding, monkeypatch):
    torch.manual_seed(0)
    values, upstream = 3 * torch.randn(5, 3, 4, 4), torch.randn(5, 3, 4, 4)
    shape = (1, 3, 1, 1) if channels == 3 else ()
    steps = [torch.tensor([0.5, 0.25, 0.125][:channels]), torch.tensor([1.0, 0.5, 2.0][:channels])]
    parts = [(step, torch.tensor([-8.0]), torch.tensor([7.0])) for step in steps]
    found = []
    for compiling in (False, True):
        monkeypatch.setattr(torch.compiler, "is_compiling", lambda compiling=compiling: compiling)
        x = values.clone().requires_grad_()
        shares = [torch.full((channels,), share, requires_grad=True) for share in (0.25, 0.75)]
        y = mixed(x, parts, shares, (shape, (), ()), rounding)
        found.append((y, *torch.autograd.grad(y, [x, *shares], upstream)))
    for first, second in zip(*found, strict=True):
        torch.testing.assert_close(first, second, rtol=1e-5, atol=1e-5)
    by_hand = sum(
        share * torch.clamp(torch.round(values / step.view(shape or ())), -8, 7) * step.view(shape or ())
        for share, step in zip((0.25, 0.75), steps, strict=True)
    )
    torch.testing.assert_close(found[0][0], by_hand)

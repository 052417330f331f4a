"""What a model on a device comes to, beside the same on the processor; test_device.py gives it a process of its own."""

from __future__ import annotations

import copy
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

import mpq_plugins as mpq
from integration_tests.torch_fx.second_device import DEVICE, add_device
from mpq_torch import fx, pt2e

BUDGET = mpq.Budget(average_weight_bits=4)


class Network(nn.Module):
    """Convolutions, a folded norm, a gate, a constant, an interpolation and a float part."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.second, self.slope = nn.Conv2d(8, 8, 3, padding=1, groups=8), nn.PReLU(8)
        self.gate, self.scaled, self.last = nn.Conv2d(8, 8, 1), nn.LayerNorm(8), nn.Linear(8, 5)
        self.register_buffer("constant", torch.randn(1, 8, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.norm(self.first(x)))
        y = y + self.slope(self.second(y))
        y = y * torch.sigmoid(self.gate(y.mean((2, 3), keepdim=True))) + self.constant
        y = y + F.interpolate(F.max_pool2d(y, 2), scale_factor=2, mode="bilinear")
        z: torch.Tensor = self.last(F.hardswish(self.scaled(y.mean((2, 3)))))
        return z


def trained(model: nn.Module, data: list[torch.Tensor], method: str) -> list[torch.Tensor]:
    """The weights after two steps of a search while training."""
    bits: dict[str, Any] = {"budget": BUDGET} if method != "msqe" else {"weight_bits": 4, "activation_bits": 8}
    search = fx.Search(copy.deepcopy(model).train(), (data[0],), target="torch-x86", method=method, steps=2, **bits)
    optimizer = torch.optim.SGD(search.parameter_groups(lr=0.01))
    for x in data:
        (search.model(x).square().mean() + search.penalty()).backward()
        optimizer.step()
        optimizer.zero_grad()
        search.step()
    fx.harden(search)
    return [parameter.detach().cpu() for parameter in search.model.parameters()]


def grids(recipe: mpq.Recipe) -> dict[str, Any]:
    """The grid of every site; the predicted loss may differ in its last digit, since sums have another order."""
    return {entry.site: entry.grid for entry in (*recipe.weights, *recipe.activations)}


def main() -> None:
    kernels = add_device()
    torch.manual_seed(0)
    model, data = Network().eval(), [torch.randn(16, 3, 8, 8) for _ in range(2)]
    model.norm.running_mean.normal_()  # type: ignore[union-attr]
    far, far_data = copy.deepcopy(model).to(DEVICE), [x.to(DEVICE) for x in data]
    recipe = fx.search(model, data, "torch-x86", budget=BUDGET)
    for given in (data, far_data):  # data go where the model is
        assert grids(fx.search(far, given, "torch-x86", budget=BUDGET)) == grids(recipe), "fx.search"
    through = pt2e.search(model, data, "torch-pt2e", budget=BUDGET)
    assert grids(pt2e.search(far, data, "torch-pt2e", budget=BUDGET)) == grids(through), "pt2e.search"
    rated = [fx.sensitivity(m, data, "torch-x86", ["kl"], weight_bits=(4, 8), activation_bits=8) for m in (far, model)]
    assert rated[0] == rated[1], "fx.sensitivity"

    on_grid, far_grid = fx.constrain(model, recipe, data), fx.constrain(far, recipe, far_data)
    even, far_even = fx.equalize(model, data, recipe), fx.equalize(far, far_data, recipe)
    for near, there in ((on_grid, far_grid), (even, far_even)):
        assert {tensor.device.type for tensor in there.state_dict().values()} == {DEVICE}, "where the model is"
        assert all(torch.equal(a, b.cpu()) for a, b in zip(near.parameters(), there.parameters(), strict=True))
    simulated = fx.simulate(on_grid, recipe)(data[0])
    assert torch.equal(fx.simulate(far_grid, recipe)(far_data[0]).cpu(), simulated), "fx.simulate"

    assert torch.equal(fx.quantize(far, recipe, calibration=far_data)(data[0]), simulated), "fx.quantize"
    converted = pt2e.quantize(far, through, calibration=far_data)
    assert torch.equal(converted(data[0]), pt2e.simulate(pt2e.constrain(model, through, data), through)(data[0]))
    assert {tensor.device.type for tensor in far.state_dict().values()} == {DEVICE}, "the model stays where it is"

    for method in ("msqe", "hmq"):
        for near, there in zip(trained(model, data, method), trained(far, far_data, method), strict=True):
            assert torch.equal(near, there), method
    del kernels
    print("equal")


if __name__ == "__main__":
    main()

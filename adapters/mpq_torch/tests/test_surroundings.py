"""A verb gives the same whatever mode it is called in, and leaves the process as it was."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import mpq_plugins as mpq
from mpq_plugins.errors import ModelError
from mpq_torch import fx
from mpq_torch.calling.surroundings import whole_floats

X = torch.randn(40, 3, 8, 8, generator=torch.Generator().manual_seed(1))
BUDGET = mpq.Budget(average_weight_bits=4)


def made():
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(128, 5)]
    return nn.Sequential(*layers).eval()


def grids(model, x=X):
    recipe = fx.search(model, [x], "torch-x86", BUDGET, activation_bits=8, progress=False)
    return dict(recipe.items())


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad])
def test_a_search_without_gradients_finds_the_recipe_of_a_search_with_them(mode):
    outside = grids(made())
    with mode():
        assert grids(made(), X.clone()) == outside


def precisions():
    """What torch may take for float32 products, by both of its switches."""
    rooms = [torch.backends.cuda.matmul, torch.backends.cudnn.conv, torch.backends.mkldnn.matmul]
    return torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32, [r.fp32_precision for r in rooms]


@pytest.mark.parametrize("wanted", ["highest", "high", "medium"])
def test_verbs_compute_in_whole_floats_and_leave_the_processs_choice_of_precision(wanted):
    torch.set_float32_matmul_precision(wanted)
    try:
        before = precisions()
        with whole_floats():
            assert precisions() == ("highest", False, ["ieee"] * 3)
        assert precisions() == before
    finally:
        torch.set_float32_matmul_precision("highest")


class Cut(nn.Module):
    """A model whose function keeps gradients from its first convolution."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 6, 3), nn.Linear(6, 5)

    def forward(self, x):
        return self.last(torch.gt(F.relu(self.first(x)).mean((2, 3)), 0.1).float())


def test_sites_that_no_gradient_reaches_are_named_where_bits_are_to_be_chosen():
    model = Cut().eval()
    arguments = {"keep_float": ["gt", "float_op"], "progress": False}
    with pytest.raises(ModelError, match=r"no gradient.*first\.weight"):
        fx.search(model, [X], "torch-x86", BUDGET, activation_bits=8, **arguments)
    fixed = fx.search(model, [X], "torch-x86", weight_bits=4, activation_bits=8, **arguments)
    assert fixed["first.weight"].bits == 4


def test_verbs_leave_torchs_random_numbers_alone():
    model = made()
    before = torch.get_rng_state()
    recipe = fx.search(model, [X], "torch-x86", BUDGET, activation_bits=8, progress=False)
    on_grid = fx.constrain(model, recipe, [X])
    fx.quantize(on_grid, recipe, X[:1])
    fx.simulate(on_grid, recipe)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("scale", [30.0, 1e5])
def test_outputs_in_large_units_get_the_bits_of_a_budget_as_others_do(scale):
    plain = fx.search(made(), [X], "torch-x86", BUDGET, activation_bits=8, progress=False)
    model = made()
    with torch.no_grad():
        model[5].weight.mul_(scale)
        model[5].bias.mul_(scale)
    scaled = fx.search(model, [X], "torch-x86", BUDGET, activation_bits=8, progress=False)
    assert scaled.average_weight_bits == pytest.approx(plain.average_weight_bits, abs=0.25)


def test_a_network_whose_units_are_all_saturated_does_not_get_the_fewest_bits():
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU6(), nn.Linear(8, 3)).eval()
    with torch.no_grad():
        model[0].weight.fill_(1.0)
    x = 1e6 + torch.rand(50, 4)
    recipe = fx.search(model, [x], "torch-x86", BUDGET, activation_bits=8, progress=False)
    assert recipe.average_weight_bits > 3.5


def test_threads_that_search_and_simulate_at_once_leave_torch_s_tracer_whole():
    model, x = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()).eval(), torch.randn(4, 3, 6, 6)

    def found(_):
        recipe = fx.search(model, [x], "torch-x86", weight_bits=4, activation_bits=8, progress=False)
        return fx.simulate(model, recipe)(x)

    with ThreadPoolExecutor(4) as pool:
        several = list(pool.map(found, range(8)))
    assert all(torch.equal(one, found(None)) for one in several)

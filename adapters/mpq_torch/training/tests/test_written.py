"""What a training graph shares with the user's model, and where it reads sites."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import mpq_plugins as mpq
from mpq_torch import fx
from mpq_torch.tests.networks import NETWORKS, Embedded, network
from mpq_torch.training.written import norm_of, read_written


@pytest.mark.parametrize("kind", NETWORKS)
def test_every_activation_site_has_a_node_at_which_it_can_be_read(kind):
    model, x = network(kind)
    written = read_written(model, [x])
    sites = [site.name for site in written.inventory if site.kind == "activation"]
    assert list(written.owner_nodes) == sites


def test_a_layer_knows_the_batch_norm_that_was_folded_into_it():
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2), nn.ReLU(), nn.Conv2d(2, 1, 1)).eval()
    written = read_written(model, [torch.randn(2, 1, 3, 3)])
    modules = dict(model.named_modules())
    assert {path: norm_of(node, modules) for path, _, node in written.layers()} == {"0": model[1], "3": None}


def trained(model, x, **options):
    search = fx.Search(model, x, "torch-x86", mpq.Budget(average_weight_bits=4), activation_bits=6, steps=2, **options)
    optimizer = torch.optim.SGD(search.parameter_groups(lr=0.1))
    outputs = torch.utils._pytree.tree_leaves(search.model(x))
    (sum((y**2).mean() for y in outputs) + search.penalty()).backward()
    optimizer.step()
    search.step()
    return search


def test_a_constant_that_is_trained_is_the_one_of_the_float_model():
    model, x = network(Embedded)
    search = trained(model, x)
    found = search.float_model()
    assert isinstance(found, Embedded)
    assert not torch.equal(found.position, model.position)
    assert torch.equal(found.position, search.model.position)


def test_a_module_that_stays_float_is_trained_in_the_float_model():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.Linear(6, 3)).eval()
    search = trained(model, torch.randn(8, 4), keep_float=["1"])
    assert not torch.equal(search.float_model()[1].weight, model[1].weight)

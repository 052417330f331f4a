"""Constants that a model spreads over its samples, and numbers of samples, as language models have for their masks."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mpq_torch import fx


class Words(nn.Module):
    """Embedded words, and a function of them between two linear layers."""

    def __init__(self, between):
        super().__init__()
        self.between = between
        self.words, self.kinds = nn.Embedding(10, 8), nn.Embedding(2, 8)
        self.first, self.last = nn.Linear(8, 8), nn.Linear(8, 8)
        self.register_buffer("kind", torch.zeros(1, 16, dtype=torch.long))
        self.register_buffer("amount", torch.tensor(3))
        self.register_buffer("causal", torch.ones(1, 6, 6, dtype=torch.bool).tril())

    def forward(self, ids):
        return self.last(self.between(self, ids, self.first(self.words(ids))))


def kinds(model, ids, y):
    kind = torch.gather(model.kind.to(ids.device).expand(ids.shape[0], -1), 1, ids.cumsum(1) % 16)
    return y + model.kinds(kind)


def causal(model, ids, y):
    return F.scaled_dot_product_attention(y, y, y, model.causal.expand(ids.shape[0], -1, -1))


def causal_by_number(model, ids, y):
    samples, places = torch.arange(ids.shape[0]), torch.arange(ids.shape[1])
    of_samples = places[None].expand(ids.shape[0], -1)[samples[:, None, None], places[None, None]]
    return F.scaled_dot_product_attention(y, y, y, (of_samples <= places[None, :, None]).to(y.device))


def nothing_masked(model, ids, y):
    kept = torch.ones(*ids.shape, device=ids.device)[None].float()
    return F.scaled_dot_product_attention(y, y, y, kept.bool()[0, :, None])


def padded_by_a_buffer(model, ids, y):
    extra = torch.ceil((y.shape[1] - 4 + model.amount) / 2).to(torch.int64) - 1
    extra = max(extra, model.amount - 1)
    assert extra < y.shape[1]
    return F.pad(y.transpose(1, 2), (model.amount - 2, extra), "reflect").transpose(1, 2)


def squared_in_float(model, ids, y):
    return model.words(ids).exp().pow(2) + y


FUNCTIONS = {
    f.__name__: f for f in (kinds, causal, causal_by_number, nothing_masked, padded_by_a_buffer, squared_in_float)
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_converted_model_gives_what_was_simulated(name):
    torch.manual_seed(0)
    model, ids = Words(FUNCTIONS[name]).eval(), torch.randint(0, 10, (3, 6))
    recipe = fx.search(model, [ids], "torch-x86", weight_bits=4, activation_bits=8)
    on_grid = fx.constrain(model, recipe, [ids])
    converted = fx.quantize(on_grid, recipe, ids)
    fx.verify(converted, fx.simulate(on_grid, recipe, example_inputs=ids), [ids]).raise_if_different()

"""Attention under masks that come with the samples: two products on grids, and a softmax in float between them."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from integration_tests.bits import widest
from integration_tests.records.runtimes import check_runtime
from mpq_plugins import plugins
from mpq_plugins.errors import UnsupportedOp
from mpq_plugins.graph.node import Node
from mpq_plugins.graph.ops import op_of
from mpq_tfmot.runner.tensorflow_runner import TensorflowRunner
from mpq_torch import fx
from mpq_torch.reader.reading import read_model
from mpq_torch.runner.torch_runner import TorchRunner

HIDDEN = torch.arange(5) >= torch.tensor([5, 3, 4, 0])[:, None]  # the last sample has nothing to be seen
BEHIND = torch.arange(5) > 0
BEFORE = torch.triu(torch.ones(5, 5, dtype=torch.bool), 1)


def heads(x):
    return x.unflatten(-1, (2, 4)).transpose(1, 2)


def attended(mask):
    """scaled_dot_product_attention of two heads. mask: what it is given, from the mask of the model."""
    return lambda model, x, hidden: (
        F.scaled_dot_product_attention(heads(model.queries(x)), heads(x), heads(x), mask(hidden))
        .transpose(1, 2)
        .flatten(2)
    )


def layer(**masks):
    """nn.MultiheadAttention, whose fast path gives no numbers where nothing is seen: the first element always is."""
    return lambda model, x, hidden: model.layer(x, x, x, hidden & BEHIND, need_weights=False, **masks)[0]


KINDS = {
    "truth values that show": attended(lambda hidden: ~hidden[:, None, None]),
    "flags, as large numbers": attended(lambda hidden: (1 - hidden[:, None, None].logical_not().float()) * -1e9),
    "a layer's padding": layer(),
    "a layer's padding and a constant mask": layer(attn_mask=BEFORE),
    "a layer's padding and numbers": layer(attn_mask=torch.linspace(-1, 1, 25).reshape(5, 5)),
    "heads that share their keys": lambda model, x, hidden: (
        F.scaled_dot_product_attention(
            heads(model.queries(x)), heads(x)[:, :1], heads(x)[:, 1:], ~hidden[:, None, None], enable_gqa=True
        )
        .transpose(1, 2)
        .flatten(2)
    ),
}


class Masked(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.attention, self.first, self.queries, self.last = KINDS[kind], *(nn.Linear(*n) for n in SIZES)
        self.layer = nn.MultiheadAttention(8, 2, batch_first=True)

    def forward(self, x, hidden):
        return self.last(self.attention(self, self.first(x), hidden))


SIZES = ((4, 8), (8, 8), (8, 3))


def model_of(kind):
    torch.manual_seed(0)
    return Masked(kind).eval(), (torch.randn(4, 5, 4), HIDDEN)


@pytest.mark.parametrize("target", ["torch-x86", "torch-pt2e", "onnxruntime"])
@pytest.mark.parametrize("kind", KINDS)
def test_both_products_are_exact_beside_a_softmax_under_a_mask_of_the_sample_s_own(kind, target):
    model, given = model_of(kind)
    recipe = fx.search(model, [given], target, weight_bits=widest("torch-x86"), activation_bits=8, progress=False)
    assert recipe.quantized_macs == 1
    simulated = fx.simulate(model, recipe, example_inputs=given)
    torch.testing.assert_close(simulated(*given), model(*given), atol=0.1, rtol=0)
    check_runtime(model, recipe, given, (2 * given[0], given[1]))


def test_the_scores_of_hidden_elements_reach_their_grid_as_they_are():
    model, given = model_of("truth values that show")
    recipe = fx.search(model, [given], "torch-x86", weight_bits=7, activation_bits=8, progress=False)
    q, k = (heads(layer(model.first(given[0]))).detach() for layer in (model.queries, nn.Identity()))
    largest = float((q @ k.transpose(2, 3)).abs().max())
    grid = recipe["scaled_dot_product_attention.matmul1"]
    assert 2 ** (grid.bits - 1) * float(grid.steps[0]) <= 2 ** math.ceil(math.log2(largest))


def test_what_comes_behind_a_row_that_sees_nothing_is_what_torch_gives():
    model, given = model_of("truth values that show")
    recipe = fx.search(model, [given], "torch-x86", weight_bits=7, activation_bits=8, progress=False)
    simulated = fx.simulate(model, recipe, example_inputs=given)
    with torch.no_grad():
        wanted = model(*given)[3]
        np.testing.assert_array_equal(wanted, np.broadcast_to(model.last.bias, (5, 3)))  # its sum is of nothing
        torch.testing.assert_close(simulated(*given)[3], wanted, atol=2**-6, rtol=0)


@pytest.mark.parametrize("target", ["generic-po2", "litert-po2"])
def test_a_mask_of_the_sample_s_own_is_refused_by_name_where_there_are_no_floats(target):
    model, given = model_of("truth values that show")
    with pytest.raises(UnsupportedOp, match="scaled_dot_product_attention: no integer kernel"):
        read_model(model, given, target=plugins.target(target))


@pytest.mark.parametrize("runner", [TorchRunner, TensorflowRunner])
@pytest.mark.parametrize(
    ("attrs", "mask"),
    [
        ({"shows": True}, [True, False, True]),
        ({"shows": False}, [False, True, False]),
        ({}, [0.5, -np.inf, 0.25]),
        ({"shows": True, "hides": -1e9}, [True, False, True]),
        ({"shows": True}, [False, False, False]),
        ({"shows": True, "hides": -1e9}, [False, False, False]),
    ],
)
def test_a_computed_mask_leaves_the_exponentials_of_what_it_shows(attrs, mask, runner):
    node = Node("y", "softmax", ("x", "m"), attrs={"axis": 1, "scale": 0.5, **attrs})
    x, mask = np.array([[1.0, 2.0, -3.0]]), np.array([mask], None if attrs else np.float32)
    shown = mask == attrs["shows"] if attrs else mask > -np.inf
    powers = np.where(shown, np.exp(0.5 * x + (0.0 if attrs else mask)), 0.0)
    if not np.any(shown):  # minus infinity leaves nothing, and beside a large number every score is nothing
        powers = np.full((1, 3), "hides" in attrs)
    wanted, run = powers / max(powers.sum(), 1e-30), runner()
    found = op_of(node).value(run, node, run.tensor(x, "float32"), run.tensor(mask))
    np.testing.assert_allclose(run.numpy(found), wanted, rtol=1e-6)

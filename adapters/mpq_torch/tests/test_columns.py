"""Every layer of torch is one matrix product of its weight with the columns that it reads."""

import numpy as np
import pytest
import torch
from torch import nn

from mpq_plugins.graph.weights import matrix
from mpq_plugins.rounding.moments.chunks import GRAIN
from mpq_plugins.rounding.moments.thinning import COLUMNS
from mpq_plugins.search.columns import columns, output_columns, thinned
from mpq_torch.tests.written import graph_of

LAYERS = [
    (nn.Linear(6, 4), (5, 6)),
    (nn.Linear(6, 4), (5, 3, 6)),
    (nn.Conv1d(4, 6, 3, stride=2, padding=1), (2, 4, 9)),
    (nn.Conv1d(4, 4, 5, groups=4, dilation=2), (2, 4, 15)),
    (nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 0)), (2, 4, 7, 8)),
    (nn.Conv2d(4, 6, 3, padding="same", dilation=2), (2, 4, 9, 8)),
    (nn.Conv2d(4, 6, 3, padding="valid", groups=2), (2, 4, 9, 8)),
    (nn.Conv2d(4, 8, 3, groups=4, padding=1), (2, 4, 6, 6)),
    (nn.ConvTranspose1d(4, 6, 4, stride=2, padding=1), (2, 4, 9)),
    (nn.ConvTranspose2d(4, 6, (3, 4), stride=(2, 3), padding=(0, 1), output_padding=(1, 2)), (2, 4, 5, 6)),
    (nn.ConvTranspose2d(4, 6, 3, groups=2, dilation=2, stride=2, padding=1), (2, 4, 5, 6)),
]


def product(node, x, *thinning):
    found = columns(node, x.double().numpy(), "NCHW", *thinning)
    found = matrix(node).reshape(len(found), -1, found.shape[1]) @ found
    return found.reshape(len(node.biases), -1) + node.biases[:, None]


@pytest.mark.parametrize(("layer", "shape"), LAYERS, ids=lambda v: str(v)[:60])
def test_a_layer_is_its_weight_matrix_times_its_columns(layer, shape):
    torch.manual_seed(0)
    x = torch.randn(shape)
    (node,) = graph_of(nn.Sequential(layer).eval(), x).layers
    with torch.no_grad():
        output = layer(x).numpy()
    expected = np.moveaxis(output, -1 if isinstance(layer, nn.Linear) else 1, 0)
    np.testing.assert_allclose(product(node, x), expected.reshape(len(expected), -1), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("layer", "shape"), LAYERS, ids=lambda v: str(v)[:60])
def test_thinned_columns_belong_to_the_thinned_outputs(layer, shape):
    torch.manual_seed(0)
    x = torch.randn(shape)
    (node,) = graph_of(nn.Sequential(layer).eval(), x).layers
    output = layer(x).detach().numpy()
    for turn in range(5):
        for rows, thinning in thinned(node, output.shape, "NCHW", turn * GRAIN, len(x), 500 * len(x)):
            wanted = output_columns(node, output[rows], "NCHW", thinning)
            np.testing.assert_allclose(product(node, x[rows], thinning), wanted, atol=1e-5, rtol=1e-5)


def test_thinning_keeps_no_more_columns_than_asked_for_where_it_can():
    layer, x = nn.Conv2d(2, 3, 3, padding=1), torch.zeros(4, 2, 32, 32)
    (node,) = graph_of(nn.Sequential(layer).eval(), x).layers
    parts = thinned(node, (4, 3, 32, 32), "NCHW", 0, 4, 256)
    kept = [output_columns(node, np.zeros((4, 3, 32, 32))[rows], "NCHW", thinning).shape[1] for rows, thinning in parts]
    assert sum(kept) == 4 * 64
    assert COLUMNS == 256 * 64

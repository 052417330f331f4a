import pytest
import torch
from torch import nn

from mpq_plugins.calibration.thinning import COLUMNS
from mpq_torch.layer_matrix import columns, output_columns, thinning_of, weight_from_matrix, weight_matrix

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


@pytest.mark.parametrize(("layer", "shape"), LAYERS, ids=lambda v: str(v)[:60])
def test_a_layer_is_its_weight_matrix_times_its_columns(layer, shape):
    torch.manual_seed(0)
    x = torch.randn(shape)
    with torch.no_grad():
        output = layer(x)
        product = torch.bmm(weight_matrix(layer), columns(layer, x)).flatten(0, 1) + layer.bias[:, None]
    channel_axis = -1 if isinstance(layer, nn.Linear) else 1
    expected = output.movedim(channel_axis, 0).flatten(1)
    torch.testing.assert_close(product, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("layer", "shape"), LAYERS, ids=lambda v: str(v)[:60])
def test_the_matrix_form_of_a_weight_converts_back_to_the_weight(layer, shape):
    assert torch.equal(weight_from_matrix(layer, weight_matrix(layer)), layer.weight)


@pytest.mark.parametrize(("layer", "shape"), LAYERS, ids=lambda v: str(v)[:60])
def test_thinned_columns_belong_to_the_thinned_outputs(layer, shape):
    torch.manual_seed(0)
    x = torch.randn(shape)
    output = layer(x)
    for turn in range(5):
        thinning = thinning_of(layer, output, 500 * len(x), turn)
        thin = columns(layer, x, thinning)
        product = torch.bmm(weight_matrix(layer), thin).flatten(0, 1) + layer.bias[:, None]
        torch.testing.assert_close(product, output_columns(layer, output, thinning), atol=1e-5, rtol=1e-5)


def test_thinning_keeps_no_more_columns_than_asked_for_where_it_can():
    layer, output = nn.Conv2d(2, 3, 3, padding=1), torch.zeros(4, 3, 32, 32)
    thinning = thinning_of(layer, output, samples=256, grain=0)
    assert output_columns(layer, output, thinning).shape == (3, 4 * 64)
    assert COLUMNS == 256 * 64

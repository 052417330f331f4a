import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mpq_plugins.errors import UnsupportedOp
from mpq_torch import fx


class Between(nn.Module):
    def __init__(self, conv, op):
        super().__init__()
        self.first, self.last, self.op = conv(2, 3, 1), conv(3, 2, 1), op

    def forward(self, x):
        return self.last(self.op(self.first(x)))


def test_an_overlapping_window_that_the_input_s_size_makes_inexact_becomes_a_layer_with_weights():
    model = Between(nn.Conv2d, lambda x: F.avg_pool2d(x, (2, x.size(3)), 1)).eval()
    fx.inventory(model, torch.randn(1, 2, 4, 8))
    names = [{site.name for site in fx.inventory(model, torch.randn(1, 2, 4, width))} for width in (8, 7)]
    assert names[1] - names[0] == {"avg_pool2d.weight"}


@pytest.mark.parametrize("op", [nn.Upsample(scale_factor=2), lambda x: F.interpolate(x, scale_factor=2)])
def test_nearest_interpolation_of_images_and_signals_is_quantized(op):
    fx.inventory(Between(nn.Conv2d, op).eval(), torch.randn(1, 2, 3, 3))
    fx.inventory(Between(nn.Conv1d, op).eval(), torch.randn(1, 2, 3))


def test_nearest_interpolation_of_signals_by_no_whole_factor_is_refused():
    with pytest.raises(UnsupportedOp, match="nearest interpolation of signals by no whole factor"):
        fx.inventory(Between(nn.Conv1d, nn.Upsample(5)).eval(), torch.randn(1, 2, 3), target="generic-po2")

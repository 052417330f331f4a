"""A folded model computes what the float model computes in eval mode."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mpq_plugins.errors import ModelError
from mpq_torch.tests.networks import settled
from mpq_torch.tests.written import graph_of, written


def folded(model, x):
    """The written model, after a check that it computes what the model does and has no batch norm."""
    model = settled(model)
    found = written(model, x)
    with torch.no_grad():
        torch.testing.assert_close(found(x), model(x), atol=2e-6, rtol=2e-6)
    assert not any(isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d)) for m in found.modules())
    return found


def layers_of(model):
    called = [model.get_submodule(node.target) for node in model.graph.nodes if node.op == "call_module"]
    return [type(module).__name__ for module in called if hasattr(module, "weight")]


LAYERS = [
    (nn.Conv2d(4, 6, 3, bias=False), nn.BatchNorm2d(6), (2, 4, 5, 5)),
    (nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2), nn.BatchNorm2d(6, eps=0.1), (2, 4, 5, 5)),
    (nn.Conv2d(4, 4, 3, groups=4), nn.BatchNorm2d(4), (2, 4, 5, 5)),
    (nn.Conv1d(4, 6, 3, groups=2), nn.BatchNorm1d(6), (2, 4, 7)),
    (nn.Linear(4, 6), nn.BatchNorm1d(6), (5, 4)),
    (nn.Linear(4, 6, bias=False), nn.BatchNorm1d(6), (5, 4)),
    (nn.ConvTranspose1d(4, 6, 3, stride=2), nn.BatchNorm1d(6), (2, 4, 5)),
    (nn.ConvTranspose2d(4, 6, 3, stride=2, bias=False), nn.BatchNorm2d(6), (2, 4, 5, 5)),
    (nn.ConvTranspose2d(4, 6, 3, groups=2), nn.BatchNorm2d(6), (2, 4, 5, 5)),
    (nn.ConvTranspose1d(4, 4, 3, groups=4, bias=False), nn.BatchNorm1d(4), (2, 4, 5)),
]


@pytest.mark.parametrize(("layer", "norm", "shape"), LAYERS, ids=lambda v: str(v)[:60])
def test_a_batch_norm_is_folded_into_the_layer_before_it(layer, norm, shape):
    torch.manual_seed(0)
    assert len(layers_of(folded(nn.Sequential(layer, norm), torch.randn(shape)))) == 1


@pytest.mark.parametrize("norm", [nn.BatchNorm2d(6, affine=False), nn.BatchNorm2d(6, momentum=None)])
def test_a_batch_norm_without_scale_and_shift_is_folded_too(norm):
    model = nn.Sequential(nn.Conv2d(4, 6, 3), norm).eval()
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2)
    x = torch.randn(2, 4, 5, 5)
    torch.testing.assert_close(written(model, x)(x), model(x), atol=2e-6, rtol=2e-6)


def test_two_batch_norms_in_a_row_are_both_folded():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.BatchNorm2d(4), nn.ReLU())
    assert layers_of(folded(model, torch.randn(2, 3, 5, 5))) == ["Conv2d"]


class Calls(nn.Module):
    """A convolution called twice, followed by the batch norms of these names."""

    def __init__(self, *after):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.norms = nn.ModuleDict({name: nn.BatchNorm2d(3) for name in sorted(set("".join(after)))})
        self.after = after

    def forward(self, x):
        for names in self.after:
            x = self.conv(x)
            for name in names:
                x = self.norms[name](x)
            x = F.relu(x)
        return x


@pytest.mark.parametrize("after", [("a", "a"), ("a", "b"), ("a", ""), ("ab", "ab"), ("ab", "a"), ("a", "ba")])
def test_a_shared_layer_computes_the_same_whatever_batch_norms_follow_its_calls(after):
    folded(Calls(*after), torch.randn(2, 3, 5, 5))


def test_the_one_batch_norm_behind_every_call_of_a_shared_layer_is_folded_once():
    assert layers_of(folded(Calls("a", "a"), torch.randn(2, 3, 5, 5))) == ["Conv2d", "Conv2d"]


def test_a_batch_norm_that_stands_alone_becomes_a_depthwise_convolution():
    model = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3), nn.MaxPool2d(2), nn.BatchNorm2d(4))
    found = folded(model, torch.randn(2, 3, 6, 6))
    alone = found.get_submodule("3")
    assert (alone.groups, alone.kernel_size) == (4, (1, 1))


def test_a_layer_with_another_reader_keeps_its_own_output():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3)

        def forward(self, x):
            y = self.conv(x)
            return y + self.norm(y)

    folded(Two(), torch.randn(2, 3, 5, 5))


def test_layers_that_share_a_weight_but_no_batch_norm_are_told_apart():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(3, 3, 3), nn.Conv2d(3, 3, 3)
            self.b.weight = self.a.weight
            self.norm = nn.BatchNorm2d(3)

        def forward(self, x):
            return self.b(F.relu(self.norm(self.a(x))))

    folded(Tied(), torch.randn(2, 3, 6, 6))


def test_one_batch_norm_behind_two_layers_is_folded_into_both():
    class One(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.norm = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

        def forward(self, x):
            return self.norm(self.b(F.relu(self.norm(self.a(x)))))

    assert layers_of(folded(One(), torch.randn(2, 3, 6, 6))) == ["Conv2d", "Conv2d"]


def test_a_batch_norm_without_running_statistics_is_refused_by_name():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, track_running_stats=False))
    with pytest.raises(ModelError, match="batch norm 1 keeps no running statistics"):
        graph_of(model, torch.randn(2, 3, 5, 5))


def test_a_batch_norm_over_another_axis_than_the_features_of_its_linear_is_a_convolution():
    x = torch.randn(2, 4, 5)
    model = settled(nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)))
    assert layers_of(folded(model, x)) == ["Linear", "Conv1d", "Linear"]


class OfTokens(nn.Module):
    """A norm of the features of every token of all samples at once, with a sum in front of it."""

    def __init__(self):
        super().__init__()
        self.linear, self.norm = nn.Linear(4, 6), nn.BatchNorm1d(6)

    def forward(self, x):
        y = self.linear(x)
        y = y + F.relu(y)
        return self.norm(y.flatten(0, 1)).reshape(y.shape)


def test_a_norm_of_rows_of_which_several_make_a_sample_is_one_of_features():
    torch.manual_seed(0)
    folded(OfTokens(), torch.randn(5, 7, 4))

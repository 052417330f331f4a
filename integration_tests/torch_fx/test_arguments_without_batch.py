"""A model may have arguments that do not grow with the batch: they are told from those that do."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from mpq_plugins import UnsupportedOp
from mpq_plugins.graph.node import Batch
from mpq_torch import fx, litert
from mpq_torch.plugin import commands
from mpq_torch.reader.reading import read_model


class Shifted(nn.Module):
    """Images, and one image that is added to all of them."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 2, 1)

    def forward(self, x, shift):
        return self.last(torch.relu(self.first(x)) + shift)


def batches():
    torch.manual_seed(0)
    return [(torch.randn(samples, 3, 6, 6), torch.randn(1, 4, 6, 6)) for samples in (7, 1, 5)]


def test_only_the_first_axis_of_what_grows_with_the_batch_is_the_batch():
    graph = read_model(Shifted().eval(), batches()[0]).graph
    assert [node.shape for node in graph.arguments] == [(Batch(), 3, 6, 6), (1, 4, 6, 6)]
    assert graph["last"].shape == (Batch(), 2, 6, 6)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("target", ["torch-x86", "torch-onednn", "torch-qnnpack", "torch-pt2e", "onnxruntime"])
def test_such_a_model_is_exact_for_every_number_of_samples(target):
    model = Shifted().eval()
    recipe = fx.search(model, batches(), target, weight_bits=4, activation_bits=5, progress=False)
    on_grid = fx.constrain(model, recipe, batches())
    commands.verify(on_grid, recipe, batches()).raise_if_different()


def test_litert_and_integers_refuse_such_an_argument_by_name():
    model = Shifted().eval()
    sentence = r"^shift: an argument that does not grow with the batch"
    with pytest.raises(UnsupportedOp, match=sentence) as caught:
        fx.search(model, batches(), "litert-po2", weight_bits=4, activation_bits=5, progress=False)
    assert "keep_float" not in str(caught.value)
    recipe = fx.search(model, batches(), "generic-po2", weight_bits=4, activation_bits=5, progress=False)
    with pytest.raises(UnsupportedOp, match=sentence):
        litert.export(model, replace(recipe, target="litert-po2"), batches()[0])
    with pytest.raises(UnsupportedOp, match=sentence):
        commands.integers(model, recipe, batches())

"""What moves elements between layers is read into records that give torch's own values, with nothing left in float."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mpq_plugins.graph.evaluation import FloatModel
from mpq_torch.reader.reading import read_model
from mpq_torch.reader.writing import write_module
from mpq_torch.tests.moving_networks import NAMES, moved


@pytest.mark.parametrize("name", NAMES)
def test_a_move_gives_torch_s_values_and_is_written_as_it_is_read(name):
    model, x = moved(name)
    reading = read_model(model, [x])
    assert reading.graph.float_ops == ()
    with torch.no_grad():
        wanted = model(x)
        written = write_module(reading)
        torch.testing.assert_close(written(x), wanted)
        torch.testing.assert_close(FloatModel(reading.graph, reading.runner).outputs([x])[0], wanted)
    again = read_model(written, [x]).graph
    assert [(n.name, n.op, n.inputs, n.shape) for n in again.nodes] == [
        (n.name, n.op, n.inputs, n.shape) for n in reading.graph.nodes
    ]


@pytest.mark.parametrize(
    "make",
    [lambda m: lambda x: m(x).chunk(2, 1), lambda m: lambda x: F.relu(m(x)).split(3, 1)],
    ids=["chunk", "split"],
)
def test_a_tuple_that_is_returned_whole_is_never_taken_from_the_example(make):
    class Returned(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(3, 6, 1)

        def forward(self, x):
            return make(self.conv)(x)

    model, x = Returned().eval(), torch.randn(3, 3, 4, 4)
    written = write_module(read_model(model, [x]))
    with torch.no_grad():
        for got, wanted in zip(written(2 * x), model(2 * x), strict=True):
            np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)

"""What a node without a record says of its call: every argument that is no tensor, defaults too."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mpq_torch.reader.reading import read_model


class Ending(nn.Module):
    def __init__(self, end):
        super().__init__()
        self.conv, self.end = nn.Conv2d(3, 4, 3), end

    def forward(self, x):
        return self.end(self.conv(x))


@pytest.mark.parametrize(
    ("end", "what", "arguments"),
    [
        (nn.Softmax(dim=1), "softmax", {"axis": 1}),
        (lambda y: F.softmax(y, dim=-1), "softmax", {"axis": -1}),
        (lambda y: torch.softmax(y, 1), "softmax", {"axis": 1}),
        (lambda y: y.softmax(dim=1), "softmax", {"axis": 1}),
        (nn.LogSoftmax(1), "logsoftmax", {"axis": 1}),
        (lambda y: F.softmax(y, 1, dtype=torch.float64), "softmax", None),
        (nn.GELU(approximate="tanh"), "gelu", {"approximate": "tanh"}),
        (torch.sigmoid, "sigmoid", {}),
        (nn.PReLU(), "prelu", None),
        (lambda y: torch.cumsum(y, 1), "cumsum", {"axis": 1}),
    ],
)
def test_a_float_end_has_its_function_in_lower_case_and_all_its_arguments(end, what, arguments):
    graph = read_model(Ending(end), (torch.randn(2, 3, 8, 8),)).graph
    (name,) = graph.float_ops
    assert graph[name].attrs["what"] == what
    found = graph[name].attrs["arguments"]
    assert found == arguments if arguments is None else {k: found[k] for k in arguments} == arguments

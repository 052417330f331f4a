"""Reading a torch model: what stays float, what is refused, and what things are called."""

import pytest
import torch
import torch.nn.functional as F
from torch import fx, nn

from mpq_plugins.errors import ModelError, UnsupportedOp
from mpq_torch.reader.shape_values import is_shape_value
from mpq_torch.tests.networks import NETWORKS, Branches, Residual, Shared, network
from mpq_torch.tests.written import graph_of, graph_of_integers, written


@pytest.mark.parametrize("kind", NETWORKS)
def test_no_batch_norm_is_left(kind):
    graph = written(*network(kind))
    assert not [m for m in graph.modules() if isinstance(m, (nn.BatchNorm1d, nn.BatchNorm2d))]


def test_the_model_itself_is_left_untouched():
    model, x = network(Residual)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    written(model, x)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_an_op_after_the_last_weight_stays_float_and_is_named():
    assert graph_of(*network(Branches)).float_ops == ("log_softmax",)


def test_an_op_without_an_integer_kernel_before_a_weight_is_refused_by_name():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(3, 3)
            self.softmax = nn.LogSoftmax(1)
            self.last = nn.Linear(3, 3)

        def forward(self, x):
            return self.last(torch.cumsum(self.softmax(self.first(x)), 1))

    with pytest.raises(UnsupportedOp, match=r"softmax: no integer kernel for LogSoftmax; cumsum: .* keep_float"):
        graph_of_integers(Net(), torch.randn(2, 3))
    assert graph_of(Net(), torch.randn(2, 3), ["softmax", "cumsum"]).float_ops == ("softmax", "cumsum")


def test_a_model_with_data_dependent_control_flow_is_refused_with_the_user_s_line():
    class Net(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    line = r"line \d+ of test_reading\.py \(return x if x\.sum\(\) > 0 else -x\) decides by the data of a tensor"
    with pytest.raises(ModelError, match=rf"cannot trace Net: {line}.*Control flow"):
        graph_of(Net(), torch.randn(2, 3))


def test_a_model_without_a_weight_is_refused():
    with pytest.raises(ModelError, match="no convolution or linear"):
        graph_of(nn.Sequential(nn.ReLU(), nn.MaxPool2d(2)), torch.randn(2, 3, 4, 4))


def test_something_that_is_no_module_is_refused():
    with pytest.raises(ModelError, match=r"torch\.nn\.Module is needed, got int"):
        graph_of(3, torch.randn(2, 3))


def test_a_batch_norm_without_statistics_is_refused_by_name():
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.BatchNorm2d(2, track_running_stats=False))
    with pytest.raises(ModelError, match="batch norm 1 keeps no running statistics"):
        graph_of(model, torch.randn(2, 1, 3, 3))


def test_a_layer_called_twice_keeps_one_weight():
    graph = written(*network(Shared))
    assert [n.target for n in graph.graph.nodes if n.op == "call_module"].count("conv") == 2


def test_a_relu6_that_is_shared_and_a_functional_scope_get_names_of_their_own():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.add = nn.Linear(2, 2)

        def forward(self, x):
            y = self.add(x)
            return F.relu6(y + x) + y

    names = [node.name for node in graph_of(Net(), torch.randn(2, 2)).nodes]
    assert "add" in names
    assert "add_op" in names
    assert "add_op_1" in names


def test_a_chain_of_functions_may_be_as_long_as_a_network():
    graph = fx.Graph()
    node = graph.call_method("size", (graph.placeholder("x"), 0))
    for _ in range(2000):
        node = graph.call_function(torch.add, (node, node))
    assert is_shape_value(node)
    assert not is_shape_value(graph.call_function(torch.add, (node, graph.placeholder("y"))))


def test_a_named_result_that_a_layer_reads_lies_outside_of_the_layer():
    class Largest(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.last = nn.Conv1d(2, 3, 3), nn.Linear(3, 2)

        def forward(self, x):
            return self.last(self.conv(x).max(2).values)

    graph = graph_of(Largest(), torch.randn(2, 2, 8))
    assert not graph.float_ops
    assert not any(node.name.startswith("last.") for node in graph.nodes)

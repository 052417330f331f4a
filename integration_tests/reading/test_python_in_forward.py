"""What Python in a forward decides: sizes and plain arguments are known, data is refused with the user's line."""

import dataclasses
from collections import OrderedDict, namedtuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import mpq_plugins as mpq
from integration_tests.bits import widest
from integration_tests.reading.converting import converted, converted_by_export, searched
from mpq_torch import fx
from mpq_torch.reader.reading import read_model
from mpq_torch.reader.returned import tensors_of

X = torch.randn(16, 3, 9, 9, generator=torch.Generator().manual_seed(1))


class Net(nn.Module):
    """Two convolutions; forward is what a test says."""

    def __init__(self, forward):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.last = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 1)
        self.linear = nn.Linear(8 * 49, 4)
        self.say = forward
        self.eval()

    def forward(self, x):
        return self.say(self, self.conv(x).relu())


def branches_by_size(net, y):
    assert y.shape[1] == 8
    if y.shape[2] > 3 and y.dim() == 4:
        return net.last(y)
    return y * 2


def checks_by_size(net, y):
    if y.shape[-1] != 7:
        raise ValueError("a feature map of seven is needed")
    return net.last(y)


def unpacks_sizes(net, y):
    b, c, h, w = y.shape
    return net.linear(y.view(b, c * h * w))


def spreads_sizes(net, y):
    return net.linear(y.view(*y.size()[:1], -1))


def counts_of_a_part(net, y):
    return net.linear(y.view(y.size(0), y[0].numel()))


def loops_over_rows(net, y):
    for _ in range(y.shape[2] - 5):
        y = F.relu(y + y)
    return net.last(y)


def pads_by_size(net, y):
    wanted = int(y.shape[3] / 2) * 2 + 4
    return net.last(F.pad(y, (0, wanted - y.shape[3], 0, 0)))


def repeats_by_size(net, y):
    return net.last(y.repeat(1, 1, y.shape[3] - 5, 1))


@pytest.mark.parametrize(
    "forward",
    [
        branches_by_size,
        repeats_by_size,
        checks_by_size,
        unpacks_sizes,
        spreads_sizes,
        counts_of_a_part,
        loops_over_rows,
        pads_by_size,
    ],
)
def test_code_that_asks_for_sizes_is_followed(forward):
    model = Net(forward)
    int8 = converted(model, X)
    assert int8(X[:5]).shape == model(X[:5]).shape  # of another batch size too


def test_a_loop_over_sizes_runs_as_often_as_in_the_model():
    ops = [node.op for node in read_model(Net(loops_over_rows), (X,)).graph.nodes]
    assert ops.count("add") == 2


@pytest.mark.parametrize(
    ("forward", "sentence"),
    [
        (
            lambda net, y: net.last(y * 0 if y.mean() > 100 else y),
            r"line \d+ of test_python_in_forward\.py \(lambda net.*\) decides by the data of a tensor",
        ),
        (lambda net, y: net.last(y * int(y.amax())), r"line \d+ of test_python.* counts by the data of a tensor"),
        (lambda net, y: net.last(y * float(y.amax())), r"line \d+ of .* computes with the data of a tensor"),
        (lambda net, y: net.last(torch.from_numpy(y.numpy())), r"torch\.export cannot at line \d+ of .*\.numpy\(\)"),
    ],
)
def test_code_that_asks_for_data_is_refused_with_the_user_s_line(forward, sentence):
    with pytest.raises(mpq.ModelError, match=sentence):
        searched(Net(forward), X)


def test_the_samples_of_a_batch_cannot_be_taken_apart():
    with pytest.raises(mpq.UnsupportedOp, match=r"unbind: taking some of the samples of a batch has no integer kernel"):
        fx.inventory(Net(lambda net, y: net.last(torch.stack(list(y)))).eval(), X, target="generic-po2")


def grows_a_list(net, y):
    net.seen.append(y)
    return net.last(sum(net.seen))


def counts_calls(net, y):
    net.count += 1
    return net.last(y) * net.count


RANDOM_NUMBERS = np.random.default_rng(0)


def draws_by_numpy(net, y):
    return net.last(y + RANDOM_NUMBERS.random())


RANDOM, KEEPS = "draws random numbers", r"keeps something of earlier calls \(a list that grows in forward\(\)"


@pytest.mark.parametrize(
    ("forward", "why", "line"),
    [
        (grows_a_list, KEEPS, r"return net\.last\(sum\(net\.seen\)\)"),
        (counts_calls, KEEPS, r"return net\.last\(y\) \* net\.count"),
        (draws_by_numpy, KEEPS, r"return net\.last\(y \+ RANDOM_NUMBERS\.random\(\)\)"),
        (lambda net, y: net.last(y) + torch.rand(1), RANDOM, r".*torch\.rand\(1\).*"),
        (lambda net, y: net.last(F.dropout(y)), RANDOM, r".*F\.dropout\(y\).*"),
    ],
)
def test_a_model_that_returns_something_else_at_every_call_is_refused_with_the_user_s_line(forward, why, line):
    model = Net(forward)
    model.seen, model.count = [], 0
    with pytest.raises(mpq.ModelError, match=rf"called twice .* {why}.* line \d+ of test_python\S+ \({line}\)"):
        searched(model, X)
    assert not model.seen
    assert not model.count


def test_an_error_of_the_model_s_own_comes_with_the_user_s_line():
    def fails(net, y):
        return net.last(y) + net.nothing

    with pytest.raises(mpq.ModelError, match=r"cannot trace Net at line \d+ of .*net\.last\(y\) \+ net\.nothing.*"):
        searched(Net(fails), X)


def test_a_branch_by_a_type_that_tracing_hides_is_found_by_comparing_with_the_model():
    class Hidden(Net):
        def forward(self, x):
            y = self.conv(x).relu()
            return self.last(F.relu(y + y) if type(y) is torch.Tensor else y)

    with pytest.raises(mpq.ModelError, match=r"output 0 .* differs .* first at or in front of module 'last'"):
        searched(Hidden(None), X)
    with pytest.raises(mpq.ModelError, match=r"output 0 .* differs .* first at or in front of module 'last'"):
        fx.Search(Hidden(None), X, target="torch-x86", weight_bits=8, activation_bits=8)


def test_a_part_that_returns_several_tensors_may_be_asked_for_its_type():
    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.rnn = nn.Conv1d(3, 8, 3), nn.GRU(8, 16, batch_first=True)

        def forward(self, x):
            z = self.rnn(self.conv(x).relu().transpose(1, 2))
            return z[0] if isinstance(z, tuple) else z

    model, x = Recurrent().eval(), torch.randn(8, 3, 12)
    recipe = searched(model, x)
    assert recipe.float_weights == {"rnn": 3 * 16 * 8 + 3 * 16 * 16}
    converted(model, x)


class Optional(Net):
    def forward(self, x, mask=None, *, scale=None, double=False, **more):
        y = self.conv(x).relu()
        if double:
            y = F.relu(y + y)
        if mask is not None:
            y = y * mask
        return self.last(y if scale is None else y * scale)


@pytest.mark.parametrize("batch", [X, (X, None)], ids=["left out", "given as None"])
def test_optional_arguments_that_nobody_gives_take_their_defaults(batch):
    model = Optional(None)
    recipe = fx.search(model, [batch], "torch-x86", weight_bits=widest("torch-x86"), activation_bits=8, progress=False)
    int8 = fx.quantize(model, recipe, batch, [batch])
    fx.verify(int8, fx.simulate(fx.constrain(model, recipe, [batch]), recipe), [batch]).raise_if_different()


@pytest.mark.parametrize(("flag", "adds"), [(True, 1), (False, 0)])
def test_a_plain_argument_decides_as_it_is_given(flag, adds):
    class Flagged(Net):
        def forward(self, x, double):
            y = self.conv(x).relu()
            return self.last(F.relu(y + y) if double else y)

    model, batch = Flagged(None), (X, flag)
    assert sum(node.op == "add" for node in read_model(model, batch).graph.nodes) == adds
    recipe = fx.search(model, [batch], "torch-x86", weight_bits=widest("torch-x86"), activation_bits=8, progress=False)
    fx.verify(fx.quantize(model, recipe, batch), fx.simulate(model, recipe, example_inputs=batch), [batch])


Pair = namedtuple("Pair", "first second")


@dataclasses.dataclass
class Record:
    first: torch.Tensor
    second: torch.Tensor


RETURNED = {
    "dict": lambda a, b: {"first": a, "others": [b, (a,)]},
    "ordered": lambda a, b: OrderedDict([("out", a), ("aux", b)]),
    "named tuple": lambda a, b: Pair(a, second=b),
    "dataclass": lambda a, b: Record(a, second=b),
    "nested": lambda a, b: (Record(a, Pair(a, [b])), None),
    "None among them": lambda a, b: (a, None, b),
}


@pytest.mark.parametrize("kind", RETURNED)
def test_outputs_come_in_the_model_s_own_structure(kind):
    model = Net(lambda net, y: RETURNED[kind](net.last(y), y))
    converted(model, X)
    recipe = searched(model, X)
    on_grid = fx.constrain(model, recipe)
    wanted = model(X[:2])
    for got in (on_grid(X[:2]), fx.simulate(on_grid, recipe)(X[:2])):
        assert type(got) is type(wanted)
        assert [t.shape for t in tensors_of(got)] == [t.shape for t in tensors_of(wanted)]


def test_export_takes_dicts_and_tuples_of_outputs():
    converted_by_export(Net(lambda net, y: {"first": net.last(y), "others": [y]}), X)


def test_several_inputs_of_which_one_is_returned():
    class Two(Net):
        def forward(self, a, b):
            return b, self.last((self.conv(a) + self.conv(b)).relu())

    converted(Two(None), (X, X.flip(0)))

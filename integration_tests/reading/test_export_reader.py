"""torch.export reads what torch.fx cannot; where both can, sites and their names are the same."""

import dataclasses
import re

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import mpq_plugins as mpq
from integration_tests.oracle import torch_networks as oracle
from integration_tests.reading.converting import converted, converted_by_export, searched
from integration_tests.reading.test_computed_weights import WAYS, network
from mpq_torch import fx
from mpq_torch.reader import tracers
from mpq_torch.reader.exporting import trace_exported
from mpq_torch.reader.reading import read_model
from mpq_torch.reader.returned import tensors_of
from mpq_torch.tests import moving_networks, networks

X = torch.randn(16, 3, 8, 8, generator=torch.Generator().manual_seed(1))
BOTH = {
    **{kind.__name__: lambda kind=kind: networks.network(kind) for kind in networks.NETWORKS},
    **{name: lambda name=name: moving_networks.moved(name) for name in ("halves", "splits_by_sizes", "moved_axes")},
    **{
        f"oracle's {name}": lambda name=name: oracle.build(name)[:2]
        for name in ("Embedded", "Tokens", "TwoInputs", "Tied", "Norms", "Reused", "Moves", "Pools", "Functional")
    },
    **{f"spelled {name}": lambda name=name: oracle.build(name)[:2] for name in ("Rectified", "Pooled", "Moved")},
}


def same(a, b):
    """Whether two nodes are equal, arrays and all."""
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return np.array_equal(a, b)
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (tuple, list)) and isinstance(b, (tuple, list)):
        return len(a) == len(b) and all(map(same, a, b))
    return same(vars(a), vars(b)) if dataclasses.is_dataclass(a) else a == b


@pytest.fixture
def by_export(monkeypatch):
    """A reader of torch.export alone."""

    def read(model, example):
        with monkeypatch.context() as patch:
            patch.setattr(tracers, "trace", lambda model, samples, *more: trace_exported(model, samples, *more))
            return read_model(model.eval(), example)

    return read


@pytest.mark.parametrize("name", BOTH)
def test_what_both_tracers_follow_is_read_alike(name, by_export):
    model, given = BOTH[name]()
    example = given if isinstance(given, tuple) else (given,)
    wanted, got = read_model(model.eval(), example), by_export(model, example)
    assert [node.name for node in got.graph.nodes] == [node.name for node in wanted.graph.nodes]
    assert all(map(same, got.graph.nodes, wanted.graph.nodes))
    assert (got.graph.outputs, got.returned) == (wanted.graph.outputs, wanted.returned)


@pytest.mark.parametrize("way", ["weight_norm", "spectral_norm, old", "own", "pruned"])
def test_a_computed_weight_is_the_same_constant(way, by_export):
    model = network()
    WAYS[way](model[3])
    wanted, got = read_model(model, (X,)), by_export(model, (X,))
    assert all(map(same, got.graph.nodes, wanted.graph.nodes))


class Net(nn.Module):
    """A convolution, what a test says, and another one."""

    def __init__(self, forward):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.last, self.act = nn.Conv2d(3, 8, 3), nn.Conv2d(8, 4, 1), nn.ReLU(inplace=True)
        self.linear = nn.Linear(8 * 36, 4)
        self.say = forward
        self.eval()

    def forward(self, x):
        return self.say(self, self.conv(x).relu())


class Bottleneck(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.cv1, self.cv2 = nn.Conv2d(channels, channels, 3, padding=1), nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        return x + F.silu(self.cv2(F.silu(self.cv1(x))))


class C2f(nn.Module):
    """A block of YOLO's, which asks for the class of what it is given."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.cv1, self.cv2 = nn.Conv2d(3, 8, 1), nn.Conv2d(16, 8, 1)
        self.m = nn.ModuleList(Bottleneck(4) for _ in range(2))
        self.eval()

    def forward(self, x):
        if not isinstance(x, torch.Tensor):
            raise TypeError("an image is needed")
        y = list(F.silu(self.cv1(x)).chunk(2, 1))
        y.extend(m(y[-1]) for m in self.m)
        return self.cv2(torch.cat(y, 1))


def zeroed(net, y):
    y[:, 1] = 0
    return net.last(y)


def doubled_in_place(net, y):
    z = y
    z += 1
    return net.last(y)


def counted(net, y):
    return net.linear(y.reshape(len(y), -1))


def rows_in_turn(net, y):
    return net.last(torch.stack(list(reversed(y.unbind(2))), 2))


def kept(net, y):
    net.seen = y
    return net.last(net.seen + y) if isinstance(y, torch.Tensor) else y


def without_gradients(net, y):
    with torch.no_grad():
        y = y * 2 if len(y) else y
    return net.last(y)


@dataclasses.dataclass
class Returned:
    scores: torch.Tensor
    hidden: list


def in_a_dataclass(net, y):
    assert isinstance(y, torch.Tensor)
    return {"out": Returned(net.last(y), [y, None])}


FOLLOWED = {
    "C2f": C2f,
    **{
        rule.__name__: lambda rule=rule: Net(rule)
        for rule in (zeroed, doubled_in_place, counted, rows_in_turn, kept, without_gradients, in_a_dataclass)
    },
}


@pytest.mark.parametrize("name", FOLLOWED)
def test_what_torch_fx_cannot_follow_is_read_through_torch_export(name):
    model = FOLLOWED[name]()
    before = dict(vars(model))
    reading = read_model(model, (X[:3],), ("setitem*",) if name == "zeroed" else ())
    with torch.no_grad():
        wanted = model(X[:5])
    got = reading.structured(mpq.graph.evaluation.FloatModel(reading.graph, reading.runner).outputs((X[:5],)))
    assert type(got) is type(wanted)
    for a, b in zip(tensors_of(got), tensors_of(wanted), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)
    assert vars(model).keys() - before.keys() <= {"seen"}  # which the model itself has set


@pytest.mark.parametrize("name", ["C2f", "counted", "in_a_dataclass"])
def test_what_torch_export_reads_is_exact_on_both_ways_to_integers(name):
    model = FOLLOWED[name]()
    converted(model, X, bits=4)
    if name == "C2f":
        converted_by_export(model, X, bits=4)


def test_layers_that_are_many_ops_are_taken_apart_as_they_are_without_torch_export():
    class Encoder(Net):
        def __init__(self):
            super().__init__(None)
            self.encoder = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
            self.lstm = nn.LSTM(8, 4, batch_first=True)

        def forward(self, x):
            y = self.conv(x).flatten(2).transpose(1, 2)
            y, (h, _) = self.lstm(self.encoder(y) if isinstance(y, torch.Tensor) else y)
            return y, h

    reading = read_model(Encoder().eval(), (X,))
    assert set(reading.graph.float_ops[:4]) == {
        "encoder.self_attn.products.softmax8",
        "encoder.norm1",
        "encoder.norm2",
        "lstm",
    }


@pytest.mark.parametrize(
    ("forward", "reasons"),
    [
        (
            lambda net, y: net.last(y * 0 if y.mean() > 100 else y),
            (
                r"torch\.fx .* line \d+ of test_export_reader\.py",
                r"torch\.export cannot at line \d+ of .*: needs the data",
            ),
        ),
        (
            lambda net, y: net.last(torch.from_numpy(y.detach().numpy() * 2)),
            (r"torch\.fx cannot trace Net at line \d+", r"torch\.export cannot at line \d+ of .*\.numpy\(\)"),
        ),
    ],
)
def test_both_reasons_are_given_where_neither_can(forward, reasons, capfd):
    with pytest.raises(mpq.ModelError) as caught:
        searched(Net(forward), X)
    assert all(re.search(reason, str(caught.value)) for reason in reasons)
    assert "def forward" not in capfd.readouterr().err


class Backbone(nn.Module):
    def __init__(self):
        super().__init__()
        self.low, self.high = nn.Conv2d(3, 4, 3, 2), nn.Conv2d(4, 8, 3)

    def forward(self, x):
        low = self.low(x).relu()
        return {"low": low, "high": self.high(low)}


class Detector(nn.Module):
    """A backbone of several outputs, and as many rows as the data say."""

    def __init__(self):
        super().__init__()
        self.backbone, self.head = Backbone(), nn.Linear(8, 2)

    def forward(self, images):
        found = self.backbone(images)["high"]
        if float(found.max()) <= 0:
            return []
        return self.head(found.flatten(2).transpose(1, 2)[found.amax(1).flatten(1) > 0])


def test_a_detector_is_refused_with_its_backbone_as_the_way_out():
    torch.manual_seed(0)
    detector, images = Detector().eval(), torch.randn(4, 3, 12, 12)
    with pytest.raises(mpq.ModelError, match=r"put the result in its place: \.backbone has 9\d % of the weights"):
        fx.search(detector, [images], "torch-x86", weight_bits=4, activation_bits=8)
    recipe = fx.search(detector.backbone, [images], "torch-x86", weight_bits=4, activation_bits=8)
    detector.backbone = fx.quantize(detector.backbone, recipe, (images,), [images])
    assert detector(images).shape[1] == 2

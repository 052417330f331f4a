"""Observers and the fake-quantizer are torch.ao's own kind, and put tensors on power-of-two grids."""

from __future__ import annotations

import copy
import io
import pickle

import numpy as np
import pytest
import torch
from torch import nn
from torch.ao.quantization import QConfig, QConfigMapping
from torch.ao.quantization.observer import ObserverBase
from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx, prepare_qat_fx

from mpq_plugins.errors import EmptyCalibration, GridError, NonFiniteValues, RecipeError
from mpq_plugins.grid import Grid
from mpq_plugins.thresholds.search import search_threshold
from mpq_torch.torch_ao.engine import quantized_engine
from mpq_torch.torch_ao.observers import (
    GridObserver,
    GridPerChannelObserver,
    GridWeightObserver,
    PO2Observer,
    PO2PerChannelWeightObserver,
    PO2WeightObserver,
)
from mpq_torch.training.fake_quantize import PO2FakeQuantize

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*quantized tensor creation functions.*"),
    pytest.mark.filterwarnings("ignore:.*torch.ao.quantization is deprecated.*"),
]
ENGINES = ("x86", "onednn", "qnnpack")
PER_CHANNEL = Grid.power_of_two(4, [0, -1, 1, -3], axis=0)


def small_cnn(bias: bool = True) -> nn.Module:
    torch.manual_seed(0)
    convolutions = [nn.Conv2d(3, 8, 3, bias=bias), nn.ReLU(), nn.Conv2d(8, 8, 3, bias=bias), nn.ReLU()]
    return nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(8 * 36, 5, bias=bias)).eval()


MAKERS = {
    "GridObserver": lambda: GridObserver(Grid.power_of_two(4, 1)),
    "GridWeightObserver": lambda: GridWeightObserver(Grid.power_of_two(3, -1)),
    "GridPerChannelObserver": lambda: GridPerChannelObserver(PER_CHANNEL),
    "PO2Observer": lambda: PO2Observer(bits=4, signed=True),
    "PO2WeightObserver": lambda: PO2WeightObserver(bits=4),
    "PO2PerChannelWeightObserver": lambda: PO2PerChannelWeightObserver(bits=4),
    "PO2FakeQuantize": lambda: PO2FakeQuantize(bits=4, signed=False),
    "PO2FakeQuantize per channel": lambda: PO2FakeQuantize(PO2PerChannelWeightObserver, bits=4),
}


def qparams(observer) -> tuple[list[float], list[int]]:
    scale, zero_point = observer.calculate_qparams()
    return scale.tolist(), zero_point.tolist()


def data(seed: int = 0) -> torch.Tensor:
    return torch.randn(4, 60, generator=torch.Generator().manual_seed(seed)) * torch.tensor([[1.0], [2], [4], [0.5]])


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_every_observer_shows_torch_ao_what_it_reads(make):
    observer = make()
    observer(data())
    assert observer.dtype in (torch.quint8, torch.qint8)
    assert observer.is_dynamic is False
    assert isinstance(observer.ch_axis, int)
    assert 0 < observer.eps <= 2.0**-12
    scale, zero_point = observer.calculate_qparams()
    assert scale.dtype == torch.float32
    assert zero_point.dtype == torch.int64
    assert scale.shape == zero_point.shape
    assert observer.qscheme in (torch.per_tensor_affine, torch.per_tensor_symmetric, torch.per_channel_symmetric)
    assert repr(observer)


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_state_dict_goes_round_before_and_after_calibration(make):
    for seen in (False, True):
        source, fresh = make(), make()
        if seen:
            source(data(1))
        else:
            fresh(data(2))
        buffer = io.BytesIO()
        torch.save(source.state_dict(), buffer)
        buffer.seek(0)
        fresh.load_state_dict(torch.load(buffer, weights_only=True))
        if seen:
            assert qparams(fresh) == qparams(source)
        source(data(3))
        fresh(data(3))
        assert qparams(fresh) == qparams(source)


@pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
def test_copies_and_pickles_keep_what_was_seen_and_go_on_alone(make):
    observer = make()
    observer(data(1))
    for twin in (copy.deepcopy(observer), pickle.loads(pickle.dumps(observer))):
        assert qparams(twin) == qparams(observer)
        before = qparams(observer)
        twin(data(2) * 1000)
        assert qparams(observer) == before


def test_constructors_with_arguments_compare_copy_and_pickle_as_qconfigs_need():
    def qconfig() -> QConfig:
        return QConfig(
            activation=GridObserver.with_args(grid=Grid.power_of_two(4, 0, signed=False)),
            weight=GridPerChannelObserver.with_args(grid=PER_CHANNEL),
        )

    from torch.ao.quantization.qconfig import qconfig_equals

    other = QConfig(activation=GridObserver.with_args(grid=Grid.power_of_two(4, 1)), weight=qconfig().weight)
    assert qconfig_equals(qconfig(), qconfig())
    assert not qconfig_equals(qconfig(), other)
    for twin in (copy.deepcopy(qconfig()), pickle.loads(pickle.dumps(qconfig()))):
        assert qconfig_equals(twin, qconfig())
        assert isinstance(twin.activation(), ObserverBase)
    assert "PerChannel" in GridPerChannelObserver.__name__
    assert "PerChannel" in PO2PerChannelWeightObserver.__name__


@pytest.mark.parametrize("bits", range(2, 9))
def test_a_recipe_grid_is_stored_with_its_lowest_code_at_zero(bits):
    for signed in (False, True):
        grid = Grid.power_of_two(bits, -2, signed)
        observer = GridObserver(grid)
        assert qparams(observer) == ([grid.step], [-grid.low])
        assert (observer.quant_min, observer.quant_max) == (0, 2**bits - 1)


def test_per_channel_grids_give_a_step_per_channel_and_their_axis():
    observer = GridPerChannelObserver(PER_CHANNEL)
    assert qparams(observer) == (list(PER_CHANNEL.steps), [0] * 4)
    assert (observer.ch_axis, observer.qscheme) == (0, torch.per_channel_symmetric)
    assert (observer.quant_min, observer.quant_max) == (-8, 7)


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("metric", ["mse", "no_clipping"])
def test_streamed_batches_give_the_grid_of_the_whole_tensor(bits, metric):
    whole = data(5)
    observer = PO2Observer(bits=bits, signed=True, metric=metric)
    for batch in whole.split(1):
        assert observer(batch) is batch
    assert observer.grid() == search_threshold(whole.numpy(), bits, metric=metric)


def test_signedness_is_read_off_the_data_unless_it_is_given():
    observer = PO2Observer(bits=8)
    observer(torch.tensor([0.0, 0.7]))
    assert observer.grid() == Grid.power_of_two(8, 0, signed=False)
    assert qparams(observer) == ([2.0**-8], [0])
    observer(torch.tensor([-0.5]))
    assert observer.grid() == Grid.power_of_two(8, 0, signed=True)
    assert qparams(observer) == ([2.0**-7], [128])


def test_a_weight_observer_finds_one_step_or_one_per_channel():
    weight = data(6)
    whole, channels = PO2WeightObserver(bits=3), PO2WeightObserver(bits=3, per_channel=True)
    twin = PO2PerChannelWeightObserver(bits=3)
    for observer in (whole, channels, twin):
        observer(weight)
    assert whole.grid() == search_threshold(weight.numpy(), 3)
    assert channels.grid() == twin.grid() == search_threshold(weight.numpy(), 3, axis=0)
    along_one = PO2PerChannelWeightObserver(bits=3, ch_axis=1)
    along_one(weight.T.contiguous())
    assert along_one.grid().steps == twin.grid().steps
    assert along_one.ch_axis == 1


def test_tensors_of_zeros_get_a_grid():
    activation, weight = PO2Observer(bits=4, signed=False), PO2PerChannelWeightObserver(bits=4)
    activation(torch.zeros(10))
    weight(torch.zeros(3, 5))
    assert activation.grid().threshold == 1.0
    assert np.all(np.isfinite(weight.grid().steps))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_not_finite_are_refused(value):
    bad = torch.tensor([0.5, value])
    with pytest.raises(NonFiniteValues, match=r"shape \(2,\).*among 2 values"):
        PO2Observer()(bad)
    with pytest.raises(NonFiniteValues):
        PO2WeightObserver()(bad)


def test_asking_before_calibration_is_an_error_that_says_what_to_do():
    with pytest.raises(EmptyCalibration, match="run calibration batches"):
        PO2Observer().calculate_qparams()
    with pytest.raises(EmptyCalibration, match="call it with one"):
        PO2WeightObserver().calculate_qparams()
    observer = PO2Observer(signed=True)
    observer(data())
    observer.reset_min_max_vals()
    with pytest.raises(EmptyCalibration):
        observer.calculate_qparams()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PO2Observer(bits=9), "holds grids of 1 to 8 bits, got 9"),
        (lambda: PO2WeightObserver(bits=16), "1 to 8 bits, got 16"),
        (lambda: PO2Observer(metric="mean"), "no metric 'mean'"),
        (lambda: GridObserver(PER_CHANNEL), "one step per activation"),
        (lambda: GridObserver(Grid.power_of_two(8, 0), zero_point=0), r"-128 .. 127 outside 0 .. 255"),
        (lambda: GridWeightObserver(Grid.power_of_two(4, 0, signed=False)), "signed weights"),
        (lambda: GridPerChannelObserver(Grid.power_of_two(4, 0)), "use GridWeightObserver"),
    ],
)
def test_grids_that_the_kernels_cannot_hold_are_refused(make, message):
    with pytest.raises(GridError, match=message):
        make()


def test_a_damaged_state_is_refused():
    for observer in (PO2Observer(), PO2WeightObserver()):
        with pytest.raises(RecipeError, match=r"calibrate again|no state"):
            observer.set_extra_state(torch.tensor([1, 2, 3], dtype=torch.uint8))
        with pytest.raises(RecipeError):
            observer.set_extra_state(torch.frombuffer(bytearray(b"{}"), dtype=torch.uint8))


def int8_modules(model: nn.Module) -> list[str]:
    return [type(m).__name__ for m in model.modules() if ".quantized" in type(m).__module__]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("per_channel", [False, True])
def test_a_qconfig_written_by_hand_converts_a_plain_network_that_clips_behind_its_relus(engine, per_channel):
    model, x = small_cnn(), torch.randn(8, 3, 10, 10)
    qconfig = QConfig(
        activation=PO2Observer.with_args(bits=4, signed=False),
        weight=PO2WeightObserver.with_args(bits=7, per_channel=per_channel),
    )
    signed = QConfig(activation=PO2Observer.with_args(bits=8, signed=True), weight=qconfig.weight)
    mapping = QConfigMapping().set_global(qconfig).set_module_name("5", signed)
    with quantized_engine(engine):
        prepared = prepare_fx(model, mapping, (x,))
        prepared(x)
        integer = convert_fx(prepared)
        seen = {}
        for name in ("0", "2"):
            integer.get_submodule(name).register_forward_hook(lambda m, i, y, name=name: seen.update({name: y}))
        integer(x * 4)
    assert int8_modules(integer).count("ConvReLU2d") == 2
    assert "Linear" in int8_modules(integer)
    for y in seen.values():
        codes = y.int_repr().int() - y.q_zero_point()
        assert (codes.min(), codes.max()) == (0, 15)


@pytest.mark.parametrize("engine", ENGINES)
def test_a_fake_quantized_network_trains_and_converts_to_the_same_numbers(engine):
    model, x = small_cnn(bias=False).train(), torch.rand(8, 3, 10, 10)
    unsigned = PO2FakeQuantize.with_args(bits=4, signed=False)
    weight = PO2FakeQuantize.with_args(observer=PO2PerChannelWeightObserver, bits=7, metric="no_clipping")
    signed = PO2FakeQuantize.with_args(bits=8, signed=True, metric="no_clipping")
    mapping = QConfigMapping().set_global(QConfig(activation=unsigned, weight=weight))
    mapping.set_module_name("5", QConfig(activation=signed, weight=weight))
    with quantized_engine(engine):
        prepared = prepare_qat_fx(model, mapping, (x,))
        optimizer = torch.optim.SGD(prepared.parameters(), lr=0.05)
        losses = []
        for _ in range(5):
            loss = prepared(x).square().mean()
            losses.append(loss.item())
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
        assert losses[-1] < losses[0]
        prepared.eval().apply(torch.ao.quantization.disable_observer)
        with torch.no_grad():
            simulated = prepared(x)
            integer = convert_fx(prepared)(x)
    assert torch.equal(simulated, integer)


def test_the_fake_quantizer_projects_and_passes_gradients_inside_its_range_only():
    grid = Grid.power_of_two(3, 0)
    quantizer = PO2FakeQuantize(GridWeightObserver, grid=grid)
    x = torch.tensor([-1.5, -1.0, -0.3, 0.125, 0.375, 0.74, 0.9], requires_grad=True)
    y = quantizer(x)
    y.sum().backward()
    assert y.tolist() == grid.project(x.detach().numpy()).tolist()
    assert x.grad.tolist() == [0, 1, 1, 1, 1, 1, 0]
    quantizer.disable_fake_quant()
    assert torch.equal(quantizer(x), x)


def test_a_frozen_fake_quantizer_keeps_its_grid():
    quantizer = PO2FakeQuantize(bits=4, signed=True)
    quantizer(data(1))
    before = qparams(quantizer)
    quantizer.disable_observer()
    quantizer(data(1) * 100)
    assert qparams(quantizer) == before

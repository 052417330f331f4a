"""The fake-quantizer with a training method, selected by a QConfig in torch.ao's own prepare_qat_fx."""

import copy
import warnings

import pytest
import torch
from torch import nn
from torch.ao.quantization import QConfig, QConfigMapping
from torch.ao.quantization.quantize_fx import convert_fx, prepare_qat_fx

from mpq_plugins.errors import MPQError
from mpq_plugins.training.method import Progress
from mpq_torch import PO2FakeQuantize
from mpq_torch.torch_ao.engine import quantized_engine
from mpq_torch.training.learned_grid import LearnedGrid
from mpq_torch.training.tests import digits

METHODS = ("fdqmp", "hmq", "msqe", "po2_gradient", "sdq")


def prepare(method, bits=8, ch_axis=None):
    qconfig = QConfig(
        activation=PO2FakeQuantize.with_args(method="msqe", bits=8),
        weight=PO2FakeQuantize.with_args(method=method, bits=bits, weight=True, ch_axis=ch_axis),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return prepare_qat_fx(
            digits.trained().train(), QConfigMapping().set_global(qconfig), digits.train_images()[0][:1]
        )


def train(model, steps, optimizer=None):
    stream = digits.batches(0)[: steps + 1]
    model(stream[0][0])  # parameters come into being
    optimizer = optimizer or torch.optim.SGD(model.parameters(), 0.005, momentum=0.9)
    for x, y in stream[1:]:
        nn.functional.cross_entropy(model(x), y).backward()
        optimizer.step()
        optimizer.zero_grad()
    return optimizer


@pytest.mark.parametrize("ch_axis", [None, 0], ids=["tensor", "channel"])
@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_in_torch_aos_own_modules_and_converts(method, ch_axis):
    prepared = prepare(method, ch_axis=ch_axis)
    train(prepared, 8)
    prepared.eval()
    images = digits.test_images()[0]
    with torch.no_grad():
        trained = prepared(images)
    with quantized_engine("x86"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        converted = convert_fx(copy.deepcopy(prepared))
        got = converted(images)
    steps = [p.activation_post_process.grid().steps[0] for n, p in prepared.named_children() if "post_process" in n]
    assert (got - trained).abs().max() <= 4 * steps[-1]
    assert float((got.argmax(1) == trained.argmax(1)).float().mean()) > 0.97


@pytest.mark.parametrize("method", METHODS)
def test_a_state_dict_goes_into_a_freshly_prepared_model_at_any_moment(method):
    prepared = prepare(method, bits=(2, 4) if method in ("hmq", "sdq", "fdqmp") else 4)
    train(prepared, 3)
    prepared.eval()
    fresh = prepare(method, bits=(2, 4) if method in ("hmq", "sdq", "fdqmp") else 4)
    fresh.load_state_dict(prepared.state_dict())
    fresh.eval()
    x = digits.test_images()[0][:32]
    assert torch.equal(fresh(x), prepared(x))
    twin = copy.deepcopy(prepared)
    assert torch.equal(twin(x), prepared(x))


def test_a_state_dict_of_another_method_is_refused():
    first = prepare("msqe")
    train(first, 1)
    with pytest.raises(MPQError, match="the checkpoint is of method 'msqe', and this model trains with 'hmq'"):
        prepare("hmq").load_state_dict(first.state_dict())


def test_a_schedule_is_followed_where_the_user_advances_it():
    quantizer = PO2FakeQuantize(method="po2_gradient", bits=4, weight=True)
    weight = torch.randn(4, 3, 3, 3, requires_grad=True)
    quantizer(weight)
    before = quantizer.activation_post_process.grid()
    quantizer.activation_post_process.advance(Progress(90, 100, 10))
    quantizer(weight * 16)
    assert quantizer.activation_post_process.grid() == before


def test_without_its_observer_it_does_not_start_and_without_fake_quant_it_passes_values_through():
    from torch.ao.quantization import disable_fake_quant, disable_observer

    x = torch.rand(2, 3)
    quantizer = PO2FakeQuantize(method="msqe", bits=2)
    disable_observer(quantizer)
    assert torch.equal(quantizer(x), x)
    quantizer = PO2FakeQuantize(method="msqe", bits=2)
    disable_fake_quant(quantizer)
    assert torch.equal(quantizer(x), x)
    assert quantizer.activation_post_process.grid().bits == 2


def test_an_activation_without_negative_values_gets_an_unsigned_grid():
    for x, signed in ((torch.rand(8, 3), False), (torch.randn(8, 3), True)):
        quantizer = PO2FakeQuantize(method="msqe", bits=4)
        quantizer(x)
        assert quantizer.activation_post_process.grid().signed == signed


def test_no_bits_are_refused():
    with pytest.raises(MPQError, match="no candidate bit-widths"):
        LearnedGrid("hmq", bits=())
    with pytest.raises(MPQError, match="must increase"):
        PO2FakeQuantize(method="hmq", bits=(4, 2))(torch.rand(2, 2))

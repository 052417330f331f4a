import pytest
import torch
from torch import nn

from mpq_plugins.errors import TargetError
from mpq_torch.torch_ao.engine import ENGINE_ATTRIBUTE, CheckEngine, engine_of, quantized_engine


@pytest.mark.parametrize("engine", ["x86", "onednn", "qnnpack"])
def test_the_engine_is_set_inside_and_restored_behind(engine):
    before = torch.backends.quantized.engine
    with quantized_engine(engine):
        assert torch.backends.quantized.engine == engine
    assert torch.backends.quantized.engine == before


def test_the_engine_is_restored_after_an_error():
    before = torch.backends.quantized.engine
    with pytest.raises(ZeroDivisionError), quantized_engine("qnnpack"):
        _ = 1 / 0
    assert torch.backends.quantized.engine == before


def test_engines_nest():
    with quantized_engine("qnnpack"):
        with quantized_engine("onednn"):
            assert torch.backends.quantized.engine == "onednn"
        assert torch.backends.quantized.engine == "qnnpack"


def test_an_engine_that_torch_lacks_is_refused_with_those_it_has():
    with pytest.raises(TargetError, match=r"no quantized engine 'npu'; it has .*x86"), quantized_engine("npu"):
        pass


def test_a_model_belongs_to_the_engine_it_was_converted_for_else_to_the_one_that_is_set():
    model = nn.Identity()
    with quantized_engine("qnnpack"):
        assert engine_of(model) == "qnnpack"
    setattr(model, ENGINE_ATTRIBUTE, "onednn")
    assert engine_of(model) == "onednn"


def test_a_checked_model_runs_on_its_own_engine_only():
    model = nn.Identity()
    model.register_forward_pre_hook(CheckEngine("onednn"))
    with quantized_engine("onednn"):
        assert model(3) == 3
    with quantized_engine("qnnpack"), pytest.raises(TargetError, match="'onednn', and 'qnnpack' is set; set torch"):
        model(3)

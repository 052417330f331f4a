"""One verb, one meaning: the same arguments, in the same order, with the same defaults, whatever the framework."""

import inspect

import pytest

import mpq_tfmot
from mpq_plugins import MPQError
from mpq_torch import fx, litert, onnx, pt2e

OWN = {
    "verify": {"kernels"},  # LiteRT has two sets of kernels
    "harden": {"target", "budget", "latency", "freeze"},  # a Search is given them before it trains
}
"""What mpq_tfmot has beyond torch, and why."""


def parameters(function, without=()):
    found = inspect.signature(function).parameters.values()
    return [(p.name, p.kind, p.default) for p in found if p.name not in without]


@pytest.mark.parametrize("verb", ["search", "constrain", "simulate", "quantize", "verify", "harden"])
def test_a_verb_takes_the_same_arguments_in_every_adapter(verb):
    wanted = parameters(getattr(fx, verb))
    assert parameters(getattr(pt2e, verb)) == wanted
    assert parameters(getattr(mpq_tfmot, verb), OWN.get(verb, ())) == wanted


@pytest.mark.parametrize("verb", ["export", "verify"])
def test_a_format_takes_the_same_arguments_from_both_frameworks(verb):
    for torchs, keras in ((onnx, mpq_tfmot.onnx), (litert, mpq_tfmot.litert)):
        assert parameters(getattr(torchs, verb)) == parameters(getattr(keras, verb))


@pytest.mark.parametrize("verb", ["export", "verify"])
def test_two_formats_differ_in_their_options_alone(verb):
    def positional(module):
        return [p for p in parameters(getattr(module, verb)) if p[1] is not inspect.Parameter.KEYWORD_ONLY]

    assert positional(onnx) == positional(litert)


@pytest.mark.parametrize("harden", [fx.harden, pt2e.harden])
def test_what_is_no_search_is_not_hardened(harden):
    from torch import fx as torch_fx
    from torch import nn

    with pytest.raises(MPQError, match=r"harden needs|no grids that are trained"):
        harden(torch_fx.symbolic_trace(nn.Linear(2, 2)))

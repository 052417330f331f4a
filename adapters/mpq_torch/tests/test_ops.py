"""The array functions of trainable methods on torch agree with the NumPy reference, values and gradients."""

import copy

import numpy as np
import pytest
import torch

from mpq_plugins.array_ops.reference import NUMPY, fake_quantize_gradients
from mpq_plugins.errors import MPQError
from mpq_plugins.testing.gradient_cases import NOISY, gradient_cases
from mpq_torch.array_ops import rounding_passes
from mpq_torch.array_ops.ops import TORCH

CASES = gradient_cases()


def value_and_gradients(case, quantize=TORCH.fake_quantize, dtype=torch.float32):
    x, step, low, high = (torch.tensor(a).requires_grad_() for a in (case.x, case.step, case.low, case.high))
    given = x.to(dtype)
    y = quantize(given, step, low, high, **case.options)
    y.backward(torch.tensor(case.upstream).to(dtype))
    return y.detach(), (x.grad, step.grad, low.grad, high.grad)


def check(case, y, found, atol=1e-5):
    expected = case.gradients()
    np.testing.assert_allclose(y, case.value(), rtol=1e-6, atol=1e-7)
    for gradient, wanted in zip(found, (expected.x, expected.step, expected.low, expected.high), strict=True):
        assert tuple(gradient.shape) == wanted.shape
        np.testing.assert_allclose(gradient, wanted, rtol=2e-5, atol=atol)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_primitive_has_the_values_and_gradients_of_the_reference(case):
    check(case, *value_and_gradients(case))


def test_the_way_for_any_shape_gives_what_the_way_for_one_step_gives():
    for case in CASES:
        if case.step.size == 1:
            arrays = [torch.tensor(a) for a in (case.x, case.step, case.low, case.high)]
            shapes = [list(a.shape) for a in arrays[1:]]
            y = rounding_passes.forward(*arrays, *shapes, [], case.clip_first)
            options = (case.rounding, case.delta, case.strict, case.clip_first)
            upstream = torch.tensor(case.upstream)
            found = rounding_passes.backward(upstream, arrays[0], y, *arrays[1:], *shapes, [], *options, [True] * 3)
            check(case, y, found)


def test_so_it_has_when_compiled():
    torch._dynamo.reset()
    compiled = torch.compile(TORCH.fake_quantize, backend="aot_eager", dynamic=True)
    for case in CASES:
        if case.name.startswith(
            ("random-signed", "random-channels-last", "ties", "surrogate-ewgs", "random-clip-between", "on-the-tie")
        ):
            check(case, *value_and_gradients(case, compiled))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=["float16", "bfloat16"])
def test_half_precision_tensors_meet_single_precision_parameters(dtype):
    case = next(case for case in CASES if case.name == "random-signed-tensor-plain")
    y, found = value_and_gradients(case, dtype=dtype)
    assert y.dtype == dtype
    assert found[1].dtype == torch.float32
    x, upstream = (torch.tensor(a).to(dtype).double().numpy() for a in (case.x, case.upstream))
    wanted = fake_quantize_gradients(x, case.step, case.low, case.high, upstream)
    np.testing.assert_array_equal(y.double(), NUMPY.fake_quantize(x, 0.25, -8.0, 7.0))
    np.testing.assert_array_equal(found[0], wanted.x)
    np.testing.assert_allclose(found[1], wanted.step, rtol=1e-4)


def test_eight_bit_codes_survive_autocast_to_bfloat16():
    layer = torch.nn.Linear(4, 256, bias=False)
    x = torch.eye(4)
    with torch.no_grad():
        layer.weight.copy_(torch.arange(1024).reshape(256, 4) / 1024)
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(TORCH.fake_quantize(x, 1.0, 0, 255))
        codes = TORCH.fake_quantize(y, 2.0**-8, 0, 255) * 256
    assert y.dtype == torch.bfloat16
    assert torch.equal(codes.float(), codes.float().round())
    assert codes.max() == 255


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_primitive_agrees_with_the_reference_on_cuda():
    for case in CASES:
        check(case, *_on_cuda(case))


def _on_cuda(case):
    tensors = [torch.tensor(a, device="cuda").requires_grad_() for a in (case.x, case.step, case.low, case.high)]
    y = TORCH.fake_quantize(*tensors, **case.options)
    y.backward(torch.tensor(case.upstream, device="cuda"))
    return y.detach().cpu(), tuple(t.grad.cpu() for t in tensors)


def test_step_low_and_high_may_be_plain_numbers():
    x = torch.tensor([0.3, 5.0])
    step = torch.tensor(0.5, requires_grad=True)
    y = TORCH.fake_quantize(x, step, -4, 3)
    y.sum().backward()
    assert y.tolist() == [0.5, 1.5]
    np.testing.assert_allclose(step.grad, (1 - 0.6) + 3)


@pytest.mark.parametrize("rounding", ["straight_through", "inverse_tanh"])
def test_a_tensor_that_is_not_contiguous_has_the_same_gradients(rounding):
    x = torch.randn(3, 4, 5, 6).to(memory_format=torch.channels_last).requires_grad_()
    step = torch.tensor(0.25, requires_grad=True)
    upstream = torch.randn(3, 4, 5, 6)
    TORCH.fake_quantize(x, step, -8, 7, rounding, 0.1).backward(upstream)
    wanted = fake_quantize_gradients(x.detach().numpy(), 0.25, -8, 7, upstream.numpy(), rounding, 0.1)
    np.testing.assert_allclose(x.grad, wanted.x, rtol=1e-5)
    np.testing.assert_allclose(step.grad, wanted.step, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("rounding", NOISY)
def test_noisy_surrogates_stay_within_their_strength(rounding):
    torch.manual_seed(0)
    x = torch.randn(500, requires_grad=True)
    TORCH.fake_quantize(x, 0.25, -100, 100, rounding, 0.1).sum().backward()
    assert 0 < x.grad.std() < 0.15
    assert abs(x.grad.mean() - 1) < 0.02


def test_an_unknown_rounding_is_refused_with_the_names_there_are():
    with pytest.raises(MPQError, match="no rounding gradient 'ewg'; there are straight_through, ewgs"):
        TORCH.fake_quantize(torch.zeros(1), 1.0, 0, 1, "ewg")


def test_powers_and_logarithms_of_two_are_exact():
    whole = torch.arange(-120, 121, dtype=torch.float32)
    powers = torch.from_numpy(np.ldexp(np.float32(1), whole.int().numpy()).astype(np.float32))
    assert torch.equal(TORCH.exp2(whole), powers)
    assert torch.equal(TORCH.exp2(whole[:1]), powers[:1])
    assert torch.equal(TORCH.log2(powers), whole)


def test_roundings_pass_back_what_they_say():
    g = torch.tensor([1.0, -2.0, 5.0])
    functions = {
        "round": lambda x: TORCH.round(x, "ewgs", 0.5),
        "ceil": TORCH.ceil,
        "limit": lambda x: TORCH.limit_gradient(x, 1.5),
    }
    values, got = {}, {}
    for name, function in functions.items():
        x = torch.tensor([0.25, -1.3, 2.5], requires_grad=True)
        values[name] = function(x)
        values[name].backward(g)
        got[name] = x.grad
    assert values["round"].tolist() == [0, -1, 2]
    # ewgs: g * (1 + delta * sign(g) * e) with e = x - round(x)
    np.testing.assert_allclose(got["round"], [1.125, -2 * (1 + 0.5 * 0.3), 5 * 1.25], rtol=1e-6)
    assert values["ceil"].tolist() == [1, -1, 3]
    assert torch.equal(got["ceil"], g)
    assert got["limit"].tolist() == [1, -1.5, 1.5]
    assert not TORCH.floor(torch.tensor([0.5], requires_grad=True)).requires_grad


ELEMENTWISE = (
    "exp",
    "log",
    "log2",
    "exp2",
    "sqrt",
    "abs",
    "sign",
    "sin",
    "tanh",
    "sigmoid",
    "relu",
    "floor",
    "ceil",
    "round",
)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_elementwise_functions_are_those_of_numpy(name):
    x = np.linspace(0.1, 3.9, 77).astype(np.float32)
    np.testing.assert_allclose(getattr(TORCH, name)(torch.from_numpy(x)), getattr(NUMPY, name)(x), rtol=1e-5)


def test_functions_over_axes_are_those_of_numpy():
    x = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    t = torch.from_numpy(copy.copy(x))
    for name in ("sum", "mean", "max"):
        for axis in (None, 0, (0, 1)):
            got = getattr(TORCH, name)(t, axis)
            np.testing.assert_allclose(got, getattr(NUMPY, name)(x, axis), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(TORCH.softmax(t, 0), NUMPY.softmax(x, 0), rtol=1e-5)
    np.testing.assert_array_equal(TORCH.argmax(t), NUMPY.argmax(x, -1))
    np.testing.assert_array_equal(TORCH.one_hot(TORCH.argmax(t), 4, t), NUMPY.one_hot(np.argmax(x, -1), 4, x))
    rows = np.array([2, 0])
    np.testing.assert_array_equal(TORCH.gather(t, torch.tensor(rows)), NUMPY.gather(x, rows))
    counts = np.array([2, 1, 3])
    repeated = NUMPY.repeat(x, counts, 6)
    np.testing.assert_array_equal(TORCH.repeat(t, torch.tensor(counts), 6), repeated)
    sums = NUMPY.segment_sum(repeated, counts)
    np.testing.assert_allclose(sums, x * counts[:, None], rtol=1e-6)
    alike = np.array([3.0, 0.0, 3.0, 1.0], np.float32)
    np.testing.assert_array_equal(NUMPY.count_alike(alike, 5), [2, 1, 2, 1])
    np.testing.assert_array_equal(TORCH.count_alike(torch.tensor(alike), 5), [2, 1, 2, 1])
    np.testing.assert_array_equal(TORCH.segment_sum(torch.tensor(repeated), torch.tensor(counts)), sums)
    np.testing.assert_array_equal(TORCH.concat([t, t]), NUMPY.concat([x, x]))
    np.testing.assert_array_equal(TORCH.move_axis(t, 1, 0), NUMPY.move_axis(x, 1, 0))
    np.testing.assert_array_equal(TORCH.stack([t, t], 1), NUMPY.stack([x, x], 1))
    np.testing.assert_array_equal(TORCH.maximum(t, 0.5), NUMPY.maximum(x, 0.5))
    np.testing.assert_array_equal(TORCH.minimum(0.5, t), NUMPY.minimum(0.5, x))

"""Search refuses what cannot be computed: all ops at once, with the list to paste and what it costs."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import mpq_plugins as mpq
from integration_tests.bits import widest
from integration_tests.reading.converting import converted
from mpq_torch import fx, pt2e

X = torch.randn(16, 3, 9, 9, generator=torch.Generator().manual_seed(1))
BITS = widest("torch-x86")


def refused(model, target, **options):
    with pytest.raises(mpq.UnsupportedOp) as caught:
        fx.search(model, [X], target, weight_bits=BITS, activation_bits=8, progress=False, **options)
    return caught.value


class Strange(nn.Module):
    """A layer of another library, which torch.fx does not look into."""

    __module__ = "torch.nn.strange"

    def __init__(self, inputs, outputs):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, 3, 3) * 0.1)

    def forward(self, x):
        return F.conv2d(x, self.weight.sin(), padding=1)


def three_ops():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.LogSoftmax(1), Strange(8, 8), nn.LocalResponseNorm(3), nn.Conv2d(8, 4, 1)
    ).eval()


MACS = 7 * 7 * 8 * 27, 7 * 7 * 8 * 72, 7 * 7 * 4 * 8


def test_every_op_is_named_with_the_list_to_paste_and_the_share_of_multiply_accumulates():
    model = three_ops()
    error = refused(model, "generic-po2")
    assert error.names == ("1", "2", "3")
    share = f"{100 * MACS[1] / sum(MACS):.3g} % of the multiply-accumulates"
    assert f"keep_float=['1', '2', '3'] to leave them in float arithmetic, and {share}" in str(error)
    recipe = fx.search(
        model, [X], "generic-po2", weight_bits=BITS, activation_bits=8, keep_float=error.names, progress=False
    )
    assert recipe.float_weights["2"] == 8 * 8 * 9


@pytest.mark.parametrize(("target", "search"), [("torch-x86", fx.search), ("torch-pt2e", pt2e.search)])
def test_a_target_with_float_arithmetic_runs_them_in_float_and_says_so(target, search):
    recipe = search(three_ops(), [X], target, weight_bits=BITS, activation_bits=8, progress=False)
    assert recipe.float_weights == {"2": 8 * 8 * 9}
    weights, floats = BITS / 8 * (8 * 27 + 4 * 8), 4 * 8 * 8 * 9
    assert recipe.weight_bytes == weights + floats
    assert recipe.float_lines == [
        "in float: 1: no integer kernel for LogSoftmax; 2: no integer kernel for Strange; "
        "3: no integer kernel for LocalResponseNorm",
        "float weights: 576 elements of 32 bits (2)",
        f"quantized: {100 * (1 - MACS[1] / sum(MACS)):.1f} % of the MACs, "
        f"{100 * weights / (weights + floats):.1f} % of the weight bytes",
    ]
    assert recipe.float_lines[0] in str(recipe)


def test_the_pasted_list_makes_the_model_exact():
    converted(three_ops(), X, ("1", "2", "3"), bits=BITS)


def test_what_costs_no_products_says_so():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.LogSoftmax(1), nn.Conv2d(8, 4, 1)).eval()
    assert "and none of the multiply-accumulates with them" in str(refused(model, "generic-po2"))


@pytest.mark.parametrize("target", ["litert-po2", "onnxruntime"])
def test_what_a_runtime_cannot_compute_in_float_either_is_said_at_search(target):
    error = refused(three_ops(), target)
    # Strange is none of the words of ONNX, which has the other two
    assert set(error.names) == ({"2"} if target == "onnxruntime" else {"1", "2", "3"})
    assert "The target's runtime has nothing that computes" in str(error)
    assert "'2'" not in str(error)  # no list to paste has the convolution
    tail = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 1), nn.LPPool2d(2, 2)).eval()
    assert refused(tail, target).names == ("3",)
    known = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 1), nn.Softmax(1)).eval()
    fx.search(known, [X], target, weight_bits=BITS, activation_bits=8, progress=False)


def test_what_litert_has_no_integer_form_of_is_said_at_search():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.MaxPool2d(2, dilation=2), nn.Conv2d(8, 4, 1)).eval()
    error = refused(model, "litert-po2")
    assert error.names == ("1",)
    assert "no max pooling with dilation (2, 2)" in str(error)
    fx.search(model, [X], "torch-x86", weight_bits=BITS, activation_bits=8, progress=False)


def test_ops_that_a_target_lacks_are_named_together_with_those_that_nothing_describes():
    ops = {op: {"weight": {"bits": [8]}, "activation": {"bits": [8]}} for op in ("input", "conv2d")}
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Hardswish(), nn.Conv2d(8, 8, 1), nn.GELU(), nn.Conv2d(8, 4, 1)).eval()
    error = refused(model, mpq.Target(name="npu", ops=ops))
    assert error.names == ("1", "3")
    assert "1: target 'npu' has no kernel for hardswish" in str(error)
    assert "keep_float=['1', '3']" in str(error)


def test_training_refuses_the_same_at_its_start():
    with pytest.raises(mpq.UnsupportedOp, match=r"keep_float=\['1', '2', '3'\]"):
        fx.Search(three_ops(), X, target="generic-po2", weight_bits=BITS, activation_bits=8)


def test_weights_that_stay_float_at_the_end_count_in_every_budget():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), Strange(8, 16)).eval()
    floats = 16 * 8 * 9
    recipe = fx.search(model, [X], "torch-x86", weight_bits=2, activation_bits=8, progress=False)
    assert recipe.weight_bytes == 8 * 27 * 2 / 8 + 4 * floats
    assert f"{floats:,} elements of 32 bits (2)" in str(recipe)
    with pytest.raises(mpq.InfeasibleBudget, match="smallest reachable value is"):
        fx.search(model, [X], "torch-x86", budget=mpq.Budget(weight_bytes=300), progress=False)


def test_a_dilated_transposed_convolution_is_exact():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.ConvTranspose2d(8, 8, 3, 2, dilation=2), nn.ReLU(), nn.Conv2d(8, 4, 1)
    ).eval()
    for bits in (BITS, 3):
        converted(model, X, bits=bits)

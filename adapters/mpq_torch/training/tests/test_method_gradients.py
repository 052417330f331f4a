"""The searching methods in torch: the values of the NumPy reference, and the gradients that their papers state."""

import math

import numpy as np
import pytest
import torch

from mpq_plugins.costs.cost_models import WeightBytes
from mpq_plugins.inventory import Inventory, Site
from mpq_plugins.papers.fdqmp import Fdqmp
from mpq_plugins.papers.hmq import Hmq
from mpq_plugins.papers.sdq import Sdq
from mpq_plugins.testing.one_group import OneGroup
from mpq_plugins.tests.training_cases import CASES, at, slot, wander
from mpq_plugins.training.bank import Bank
from mpq_plugins.training.expected_costs import ExpectedCosts
from mpq_plugins.training.method import Progress, Spent
from mpq_plugins.training.regularizers import bin_regularization, distillation
from mpq_torch.array_ops.ops import TORCH

METHODS = {"hmq": Hmq(), "sdq": Sdq(), "sdq-kernel": Sdq(granularity="kernel"), "fdqmp": Fdqmp()}


def tensors(values):
    return {name: torch.tensor(np.asarray(value, np.float32)) for name, value in values.items()}


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_torch_agrees_with_numpy(method, case, training):
    case, x = CASES[case]
    parameters, state = wander(method, case, x, 20, 2)
    state = at(method, case, state, Progress(300, 1000, 100))
    expected, _ = OneGroup(method, case).quantize(x, parameters, state, training)
    got, updates = OneGroup(method, case, TORCH, like=torch.zeros(())).quantize(
        torch.tensor(x), tensors(parameters), tensors(state), training
    )
    if training:  # expectations are sums of floats, in an order of each framework's own
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-6)
    else:
        np.testing.assert_array_equal(got, expected)
    bits = OneGroup(method, case, TORCH, like=torch.zeros(())).expected_bits(tensors(parameters), tensors(state))
    np.testing.assert_allclose(bits.numpy(), OneGroup(method, case).expected_bits(parameters, state), rtol=1e-5)
    assert bool(updates) == (training and isinstance(method, Sdq) and case.kind == "weight")


def test_bits_of_fdqmp_have_the_papers_gradients():
    case = slot(bits=(2, 4, 8), shape=(4,))
    parameters = {"step": torch.tensor(0.25, requires_grad=True), "range": torch.tensor(1.75, requires_grad=True)}
    state = tensors({"exponent": -2.0, "frozen": 0.0, "open": 1e30})
    for function in (Fdqmp().slice_bits, Fdqmp().expected_bits):
        by_step, by_range = torch.autograd.grad(
            OneGroup(Fdqmp(), case, TORCH, like=torch.zeros(())).ask(function, parameters, state),
            [parameters["step"], parameters["range"]],
        )
        assert by_range == pytest.approx(0.72135, abs=1e-5)
        assert by_step == pytest.approx(-5.04943, abs=1e-4)


def test_values_beyond_the_range_move_it_in_their_direction():
    case = slot(bits=(2, 4, 8), shape=(3,))
    parameters = {"step": torch.tensor(0.25, requires_grad=True), "range": torch.tensor(1.75, requires_grad=True)}
    state = tensors({"exponent": -2.0, "frozen": 0.0, "open": 1e30})
    x = torch.tensor([2.5, -2.5, 0.3])
    for upstream, expected in (([1.0, 0, 0], 1.0), ([0, 1.0, 0], -1.0), ([0, 0, 1.0], 0.0)):
        y, _ = OneGroup(Fdqmp(delta=0.0), case, TORCH, like=torch.zeros(())).quantize(x, parameters, state, True)
        (by_range,) = torch.autograd.grad((y * torch.tensor(upstream)).sum(), [parameters["range"]], retain_graph=True)
        assert by_range == expected


@pytest.mark.parametrize("power_of_two", [False, True])
@pytest.mark.parametrize("bits", [3, 4, 6])
def test_the_range_is_pulled_by_all_that_lies_beyond_it_as_in_the_authors_code(bits, power_of_two):
    """Clip, then round; against that written down in torch's own functions, at the authors' start."""
    w = torch.randn(20000, generator=torch.Generator().manual_seed(0)) * 0.05
    largest = 3 * w.std()
    step = largest / (2 ** (bits - 1) - 1)
    used = 2.0 ** torch.round(torch.log2(step)) if power_of_two else step
    case, method = slot(bits=range(2, 9), shape=w.shape), Fdqmp(power_of_two=power_of_two, weight_rounding="ewgs")
    state = tensors({"exponent": torch.round(torch.log2(step)), "frozen": 0.0, "open": 1e30})

    def ours(x, largest):
        held = {"step": step, "range": largest}
        return OneGroup(method, case, TORCH, like=torch.zeros(())).quantize(x, held, state, True)[0]

    def theirs(x, largest):
        return used * TORCH.round(torch.clamp(x / largest, -1, 1) * largest / used, "ewgs")

    found = []
    for quantize in (ours, theirs):
        x, xmax = w.clone().requires_grad_(), largest.clone().requires_grad_()
        found.append(torch.autograd.grad(((quantize(x, xmax) - w) ** 2 / 2).sum(), [x, xmax]))
    torch.testing.assert_close(*found, rtol=2e-4, atol=1e-5)
    assert int((found[0][0] == 0).sum()) >= int((w.abs() > largest).sum()) > 0


def test_between_updates_no_gradient_reaches_steps_and_ranges_nor_their_momentum():
    case, x = CASES["tensor"]
    method, upstream = Fdqmp(), torch.randn(x.shape)
    one = OneGroup(method, case, TORCH, like=torch.zeros(()))
    start = {name: torch.tensor(value).requires_grad_() for name, value in method.start(case, x).parameters.items()}
    for step, moves in ((300, False), (303, True)):
        state = tensors(at(method, case, dict(method.start(case, x).state), Progress(step, 1000, 100)))
        loss = (one.quantize(torch.tensor(x), start, state, True)[0] * upstream).sum() + one.expected_bits(start, state)
        gradients = torch.autograd.grad(loss, list(start.values()))
        assert all((float(gradient.abs().sum()) > 0) == moves for gradient in gradients)


def test_the_share_of_sdq_learns_what_the_two_candidates_differ_by():
    case, x = slot(bits=(2, 4), shape=(3,)), torch.tensor([0.9, -0.4, 0.2])
    state = tensors({"pair": 1.0, "steps": [1.0, 0.125], "noise": 0.5, "temperature": 1.0, "frozen": 0.0, "probe": 1})
    share = torch.tensor([0.7], requires_grad=True)
    upstream = torch.tensor([1.0, 2.0, -1.0])
    y, _ = OneGroup(Sdq(), case, TORCH, like=torch.zeros(())).quantize(x, {"share": share}, state, True)
    (y * upstream).sum().backward()
    two, four = torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.875, -0.375, 0.25])
    # without noise and at temperature 1 z is the share itself, so its slope is 1
    assert share.grad == pytest.approx(float(((four - two) * upstream).sum()), abs=1e-5)


@pytest.mark.parametrize(("value", "slopes"), [(3.0, (1.0, -1.0)), (-3.0, (-1.0, 0.0))])
def test_a_clipped_value_moves_the_threshold_of_hmq(value, slopes):
    """Codes are -n .. n - 1, so that Q is t - step above and -t below; dQ/d(t, step) follow."""
    method, case = Hmq(thresholds=2), slot(bits=(4, 8), shape=(1,))
    p = torch.tensor([0.4, 0.1, 0.3, 0.2])
    logits = torch.log(p).requires_grad_()
    state = tensors({"base": 2.0, "noise": np.full(4, math.exp(-1)), "temperature": 1.0, "frozen": 0.0})
    y, _ = OneGroup(method, case, TORCH, like=torch.zeros(())).quantize(
        torch.tensor([value]), {"logits": logits}, state, True
    )
    (got,) = torch.autograd.grad(y.sum(), [logits])
    thresholds = torch.tensor([2.0, 1.0, 2.0, 1.0])
    steps = thresholds / torch.tensor([128.0, 128.0, 8.0, 8.0])
    by_p = slopes[0] * thresholds + slopes[1] * steps
    np.testing.assert_allclose(got, p * (by_p - (p * by_p).sum()), atol=1e-5)


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_within_the_budget_the_penalty_has_no_gradient(method):
    state = tensors(method.controls(Bank.of([CASES["tensor"][0]]), Progress(580, 1000, 100)))
    for value in (2.9, 3.0, 3.5):
        cost = torch.tensor(value, requires_grad=True)
        penalty = method.penalty(TORCH, [Spent("average_weight_bits", cost, 3.0, 32.0)], state)
        penalty.backward()
        assert (float(cost.grad) > 0) == (value > 3)


def test_bins_pull_each_weight_to_its_level_by_its_share_of_the_bin():
    x = torch.tensor([-0.9, -1.1, -0.05, 0.05, 0.15, 1.2], requires_grad=True)
    bin_regularization(TORCH, x, 1.0, -1, 1).backward()
    level = torch.tensor([-1.0, -1, 0, 0, 0, 1])
    count = torch.tensor([2.0, 2, 3, 3, 3, 1])
    torch.testing.assert_close(x.grad, 2 * (x.detach() - level) / count)


def test_distillation_is_torchs_cross_entropy_with_soft_labels():
    student, teacher = torch.randn(6, 5, requires_grad=True), torch.randn(6, 5)
    expected = torch.nn.functional.cross_entropy(student / 2, torch.softmax(teacher / 2, -1))
    torch.testing.assert_close(distillation(TORCH, student, teacher, 2.0), expected)


@pytest.mark.parametrize(("bits", "slope"), [(8.0, 20.0), (4.0, 20.0), (3.0, 20.0), (2.0, 0.0), (4.5, 20.0)])
def test_a_cost_at_a_candidate_has_the_gradient_of_fewer_bits(bits, slope):
    inventory = Inventory([Site("site", "weight", "linear", (10, 16), macs=160, channel_axis=0)])
    case = slot(bits=(2, 3, 4, 8), shape=(10, 16))
    costs = ExpectedCosts.of(
        inventory, [case], {"site": "site"}, {"weight_bytes": 50.0}, {"weight_bytes": WeightBytes()}
    )
    expected = torch.tensor(bits, requires_grad=True)
    tables = {name: torch.as_tensor(values) for name, values in costs.tables().items()}
    (spent,) = costs.spent(TORCH, expected.reshape(1), tables)
    spent.cost.backward()
    assert float(spent.cost.detach()) == pytest.approx(20.0 * bits)
    assert expected.grad == pytest.approx(slope)

"""What a hurried person does wrong, and the sentence that they get."""

import copy
import json

import pytest
import torch
from torch import nn

import mpq_plugins as mpq
from integration_tests.bits import widest
from mpq_torch import fx
from mpq_torch.reader.reading import read_model
from mpq_torch.tests.alterations import shifted
from mpq_torch.tests.networks import Mobile, Residual, Shared, network
from mpq_torch.torch_ao.conversion import convert

X86 = "torch-x86"


@pytest.fixture(scope="module")
def residual():
    return network(Residual, samples=32)


@pytest.fixture(scope="module")
def recipe(residual):
    model, x = residual
    return fx.search(model, [x], X86, weight_bits=4, activation_bits=8)


def test_a_budget_nobody_can_meet_names_the_smallest_reachable_value_of_each_resource(residual):
    model, x = residual
    elements = 8 * 3 * 9 + 12 * 8 * 9 + 60
    with pytest.raises(
        mpq.InfeasibleBudget,
        match=rf"weight_bytes is limited to 100 and its smallest reachable value is {elements * 2 // 8:,} bytes",
    ) as caught:
        fx.search(model, [x], X86, mpq.Budget(weight_bytes=100, bops=1e9))
    assert caught.value.reachable["weight_bytes"] == elements * 2 / 8


def test_no_budget_and_open_bits_are_refused(residual):
    model, x = residual
    with pytest.raises(mpq.BudgetError, match="several candidate bit-widths and there is no budget"):
        fx.search(model, [x], X86)


def test_without_a_budget_activations_take_the_most_bits(residual):
    model, x = residual
    recipe = fx.search(model, [x], X86, weight_bits=4)
    assert {entry.grid.bits for entry in recipe.activations} == {8}


def test_models_and_data_without_values_and_converted_models_are_refused(residual):
    model, x = residual
    with pytest.raises(mpq.ModelError, match=r"conv1\.weight is on the meta device and has no values; load them first"):
        fx.search(copy.deepcopy(model).to("meta"), [x], X86, weight_bits=4)
    with pytest.raises(mpq.ModelError, match="argument 0 of a calibration batch is on the meta device"):
        fx.search(model, [x.to("meta")], X86, weight_bits=4)
    with pytest.raises(mpq.ModelError, match=r"0\.weight has no shape yet, since its layer is lazy"):
        fx.search(nn.Sequential(nn.LazyConv2d(2, 3)), [x], X86, weight_bits=4)
    recipe = fx.search(model, [x], X86, weight_bits=4)
    with pytest.raises(mpq.ModelError, match=r"conv1 is a Conv.* of a converted model; pass the float model"):
        fx.search(fx.quantize(model, recipe, x, [x]), [x], X86, weight_bits=4)


def test_nothing_left_beside_keep_float_is_said(residual):
    model, x = residual
    with pytest.raises(mpq.ModelError, match=r"to quantize; keep_float names all that there are \(conv1, "):
        fx.search(model, [x], X86, weight_bits=4, keep_float=["*"])


def test_bits_that_the_target_does_not_have_are_refused_by_site(residual):
    model, x = residual
    with pytest.raises(mpq.TargetError, match=r"site 'conv1\.weight': none of 9 bits .* offers 2, 3, 4, 5, 6, 7"):
        fx.search(model, [x], X86, weight_bits=9, activation_bits=8)


def test_nan_in_a_weight_is_refused_by_site(residual):
    model, x = copy.deepcopy(network(Residual))
    with torch.no_grad():
        model.conv2.weight[0, 0, 0, 0] = float("nan")
    with pytest.raises(mpq.NonFiniteValues, match="conv2"):
        fx.search(model, [x], X86, weight_bits=4, activation_bits=8)


def test_nan_in_the_calibration_data_is_refused(residual):
    model, x = residual
    bad = x.clone()
    bad[0, 0, 0, 0] = float("inf")
    with pytest.raises(mpq.NonFiniteValues, match="argument 0 of a calibration batch holds 1 NaN or infinite"):
        fx.search(model, [bad], X86, weight_bits=4, activation_bits=8)


def test_activations_that_overflow_are_refused_by_site():
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2)).eval()
    with torch.no_grad():
        model[0].weight.fill_(3e38)
    with pytest.raises(mpq.NonFiniteValues, match=r"site '0'"):
        fx.search(model, [torch.ones(4, 2)], X86, weight_bits=4, activation_bits=8)


@pytest.mark.parametrize("empty", [[], iter([]), torch.zeros(0, 3, 9, 9), [torch.zeros(0, 3, 9, 9)]])
def test_an_empty_calibration_set_is_refused(residual, empty):
    with pytest.raises(mpq.EmptyCalibration, match="calibration set is empty"):
        fx.search(residual[0], empty, X86, weight_bits=4, activation_bits=8)


def test_weights_and_activations_of_zeros_get_a_grid():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Conv2d(2, 2, 3)).eval()
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    x = torch.zeros(4, 1, 8, 8)
    recipe = fx.search(model, [x], X86, mpq.Budget(average_weight_bits=3), activation_bits=4)
    int8 = fx.quantize(model, recipe, x, [x])
    fx.verify(int8, fx.simulate(fx.constrain(model, recipe, [x]), recipe), x).raise_if_different()


def test_a_target_without_a_grid_for_an_op_is_refused_by_site():
    model, x = network(Mobile)
    ops = {op: {"weight": {"bits": [8]}, "activation": {"bits": [8]}} for op in ("input", "conv2d", "linear", "add")}
    target = mpq.Target(name="narrow-npu", ops=ops)
    sentence = r"stem\.2: target 'narrow-npu' has no kernel for hardswish"
    with pytest.raises(mpq.UnsupportedOp, match=sentence) as caught:
        fx.search(model, [x], target, weight_bits=8, activation_bits=8)
    kinds = {node.name: node.op for node in read_model(model, (x,)).graph.nodes}
    assert set(caught.value.names) == {name for name, op in kinds.items() if op not in {*ops, "argument", "reshape"}}


def test_an_unknown_target_is_refused_with_the_nearest_name(residual):
    with pytest.raises(mpq.TargetError, match="torch-x86"):
        fx.search(residual[0], [residual[1]], "torch-x68", weight_bits=4, activation_bits=8)


def test_fbgemm_is_refused_by_name(residual):
    with pytest.raises(mpq.TargetError, match=r"torch-fbgemm.*depthwise"):
        fx.search(residual[0], [residual[1]], "torch-fbgemm", weight_bits=4, activation_bits=8)


def test_an_unknown_method_is_refused(residual):
    with pytest.raises(mpq.MPQError, match="msqe"):
        fx.search(residual[0], [residual[1]], X86, weight_bits=4, activation_bits=8, method="mqse")


def test_a_recipe_of_another_model_is_refused_with_the_sites(recipe):
    model, _ = network(Shared)
    with pytest.raises(
        mpq.RecipeMismatch, match=r"without a grid in the recipe: .*conv\.weight.*does not have: .*conv1"
    ):
        fx.constrain(model, recipe)


def test_a_recipe_of_the_same_model_at_another_width_is_refused_with_the_shapes(recipe):
    model = copy.deepcopy(network(Residual)[0])
    model.fc = nn.Linear(12, 7)
    with pytest.raises(mpq.RecipeMismatch, match=r"fc\.weight \(weight \(5, 12\) in the recipe, weight \(7, 12\)"):
        fx.simulate(model, recipe)


def test_a_damaged_recipe_file_is_refused(recipe, tmp_path):
    path = tmp_path / "recipe.json"
    recipe.save(path)
    path.write_text(path.read_text()[:-40])
    with pytest.raises(mpq.RecipeError, match=r"recipe\.json"):
        mpq.Recipe.load(path)


def test_a_newer_recipe_file_is_refused(recipe, tmp_path):
    path = tmp_path / "recipe.json"
    recipe.save(path)
    data = json.loads(path.read_text())
    path.write_text(json.dumps({**data, "schema_version": 99}))
    with pytest.raises(mpq.RecipeError, match=r"99.*upgrade"):
        mpq.Recipe.load(path)


def test_a_model_in_which_nothing_was_quantized_is_an_error(residual, recipe):
    # the float model itself instead of the constrained one: no name of its functional ops fits
    renamed = nn.Sequential(nn.Flatten(), nn.Linear(243, 5)).eval()
    with pytest.raises(mpq.NothingQuantized, match=r"nothing was quantized: conv1, conv2, fc"):
        convert(renamed, recipe, (residual[1],), "x86")


def test_a_model_whose_names_do_not_fit_the_recipe_does_not_stay_float_silently(residual, recipe):
    model, x = residual
    with pytest.raises(mpq.NothingQuantized, match=r"conv1, conv2, fc.*model that fx\.constrain returned"):
        convert(_Wrapped(fx.constrain(model, recipe)), recipe, (x,), "x86")


class _Wrapped(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return self.inner(x)


def test_verify_says_which_site_differs_first(residual, recipe):
    model, x = residual
    on_grid = fx.constrain(model, recipe)
    int8 = fx.quantize(on_grid, recipe, x)
    simulated = fx.simulate(on_grid, recipe)
    verification = fx.verify(int8, shifted(simulated, "conv2", float(recipe["conv2.weight"].steps[0])), x)
    assert not verification
    assert verification.first_differing_site == "conv2"
    with pytest.raises(
        mpq.VerificationError, match=r"\d+ of 160 output values differ.*first site that differs is conv2"
    ):
        verification.raise_if_different()


def test_verify_needs_a_simulation(residual, recipe):
    model, x = residual
    with pytest.raises(mpq.ModelError, match="verify needs what simulate returned"):
        fx.verify(fx.quantize(model, recipe, x), model, x)


@pytest.mark.parametrize("end", [lambda y: y.argmax(1), lambda y: y.softmax(1).topk(2)[1], lambda y: y.max(1)[1]])
def test_a_model_that_ends_in_a_place_is_rated_by_what_is_placed(end):
    class Net(nn.Module):
        def __init__(self, end):
            super().__init__()
            self.fc, self.last, self.end = nn.Linear(4, 6), nn.Linear(6, 3), end

        def forward(self, x):
            return self.end(self.last(self.fc(x).relu()))

    torch.manual_seed(0)
    models, x = [Net(end), Net(lambda y: y)], torch.randn(32, 4)
    models[1].load_state_dict(models[0].state_dict())
    budget = mpq.Budget(average_weight_bits=4)
    found, wanted = (fx.search(model, [x], X86, budget, weight_bits=(2, 4, 6)) for model in models)
    assert [entry.grid for entry in found.weights] == [entry.grid for entry in wanted.weights]


class Direction(nn.Module):
    """What it divides by is never 0 in float, and 0 on a grid."""

    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(4, 4), nn.Linear(4, 2)

    def forward(self, x):
        y = self.first(x)
        return self.last(y / y.abs())


def test_a_division_by_what_is_zero_on_grids_alone_is_refused_by_site():
    torch.manual_seed(0)
    model, x = Direction().eval(), torch.randn(256, 4)
    recipe = fx.search(model, [x], X86, weight_bits=widest(X86))
    with pytest.raises(mpq.NonFiniteValues, match=r"site 'truediv' is NaN or infinite as soon as .* on grids"):
        fx.constrain(model, recipe, [x])

"""Search: a user's loop trains, the method finds grids, and the result converts to exactly what was trained."""

import copy
import json

import numpy as np
import pytest
import torch
import torch.multiprocessing as multiprocessing
from torch import nn

import mpq_plugins as mpq
from integration_tests.bits import widest
from mpq_plugins.errors import InfeasibleBudget, MPQError, NonFiniteValues, TargetError
from mpq_plugins.papers.msqe_training import MsqeTraining
from mpq_plugins.training.plan import trainable
from mpq_torch import fx
from mpq_torch.torch_ao.engine import quantized_engine
from mpq_torch.training.tests import digits

METHODS = sorted(n for n, m in mpq.methods().items() if getattr(getattr(m, "training", m), "kind", "") == "training")
SEARCHING = [name for name in METHODS if trainable(name).searches_bits]
STEPS = 60


def search(method, bits=4.0, model=None, **options):
    model = digits.trained() if model is None else model
    images = digits.train_images()[0][:256]
    shared = {"target": "torch-x86", "method": method, "activation_bits": 8, "steps": STEPS, "calibration": [images]}
    if trainable(method).searches_bits:
        shared |= {"budget": mpq.Budget(average_weight_bits=bits), "weight_bits": (2, 3, 4, 6)}
    else:
        shared |= {"weight_bits": int(bits)}
    return fx.Search(model, images[:8], **(shared | options))


def convert(trained_search, recipe):
    images = digits.test_images()[0]
    model = trained_search.float_model()
    int8 = fx.quantize(model, recipe, images[:1])
    simulated = fx.simulate(fx.constrain(model, recipe), recipe)
    with quantized_engine("x86"):
        return fx.verify(int8, simulated, images), digits.accuracy(int8), simulated


def on_grids(trained, values):
    """Tensors of all slots on the grids of the moment."""
    return {
        slot.name: bank.put(index, values[slot.name], row)
        for bank in trained._training.banks
        for index, (slot, row) in enumerate(zip(bank.plain.slots, bank(None), strict=True))
    }


@pytest.fixture(scope="module", params=METHODS)
def finished(request):
    """A search after its last step, and its optimizer."""
    trained = search(request.param, record_every=1)
    return trained, digits.run(trained, STEPS)


def test_every_method_trains_hardens_and_converts_exactly(finished):
    trained, optimizer = finished
    recipe = trained.harden()
    for group in optimizer.param_groups:
        group["lr"] /= 5  # a network recovers at fixed grids under a falling rate
    digits.run(trained, 20, optimizer, first=STEPS)
    assert recipe.average_weight_bits <= 4.0 + 1e-9
    assert all(grid.is_power_of_two for grid in recipe.values())
    verification, accuracy, simulated = convert(trained, recipe)
    assert verification.exact
    assert accuracy > 0.85
    images, _ = digits.test_images()
    with torch.no_grad():
        assert torch.equal(trained.model.eval()(images), simulated(images))


def test_bits_go_down_to_the_budget_while_training(finished):
    trained, _ = finished
    sizes = {site.name: site.elements for site in trained.plan.inventory.weights}
    means = [
        sum(sizes[name] * record.bits[name] for name in sizes) / sum(sizes.values())
        for record in trained.history.records
    ]
    assert len(means) == STEPS  # none after hardening
    assert (means[0] > 5) == trained.method.searches_bits
    assert means[-1] <= 4


@pytest.mark.parametrize("method", METHODS)
def test_a_seed_decides_everything(method):
    results = []
    for _ in range(2):
        trained = search(method)
        digits.run(trained, 3)
        results.append((trained.model.state_dict(), trained.harden()))
    (first, recipe), (second, same) = results
    assert recipe.to_json() == same.to_json()
    assert all(torch.equal(first[key], second[key]) for key in first)


@pytest.mark.parametrize("method", METHODS)
def test_a_search_that_was_stopped_goes_on_as_if_it_had_not_been(method, tmp_path):
    whole = search(method)
    digits.run(whole, 4)
    part = search(method)
    optimizer = digits.run(part, 2)
    torch.save({"search": part.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "checkpoint.pt")
    resumed = search(method)
    checkpoint = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    resumed.load_state_dict(checkpoint["search"])
    again = torch.optim.SGD(resumed.parameter_groups(lr=0.005), momentum=0.9)
    again.load_state_dict(checkpoint["optimizer"])
    digits.run(resumed, 2, again, first=2)
    wanted, found = whole.model.state_dict(), resumed.model.state_dict()
    assert all(torch.equal(wanted[key], found[key]) for key in wanted)
    assert whole.harden().to_json() == resumed.harden().to_json()


@pytest.mark.parametrize("method", METHODS)
def test_evaluation_is_on_the_grids_that_harden_returns(method):
    trained = search(method)
    digits.run(trained, 6)
    trained.model.eval()
    values = {name: 3 * torch.randn(2, *slot.shape) for name, slot in trained.plan.slots.items()}
    values |= {n: v[0] for n, v in values.items() if trained.plan.slots[n].kind == "weight"}
    with torch.no_grad():
        before, again = on_grids(trained, values), on_grids(trained, values)
    own = {name: quantizer.grid() for name, quantizer in trained._training.quantizers.items()}
    recipe = trained.harden()
    after = on_grids(trained, values)
    kept = [name for name in own if recipe[name] == own[name]]
    assert len(kept) > len(own) / 2
    for name in own:
        assert torch.equal(before[name], again[name])
    for name in kept:
        project = recipe[name].project(values[name].numpy())
        np.testing.assert_array_equal(before[name], project)
        np.testing.assert_array_equal(after[name], project)


def test_biases_are_rounded_like_the_converted_models_from_the_moment_the_grids_are_fixed(tmp_path):
    trained = search("msqe")
    optimizer = digits.run(trained, 4)
    layer = next(layer for layer in trained._training.layers.values() if layer.norm is not None)
    assert layer.bias_steps is None
    recipe = trained.harden()
    weight, image = recipe.weights[0].grid, recipe.activations[0].grid
    np.testing.assert_array_equal(layer.bias_steps, np.asarray(weight.steps) * image.step)
    images = digits.test_images()[0][:32]
    with torch.no_grad():
        outputs = trained.model.eval()(images)
        for part in (trained, trained.model):
            resumed = search("msqe")
            before = copy.deepcopy(resumed.model.state_dict())
            torch.save(part.state_dict(), tmp_path / "hardened.pt")
            (resumed if part is trained else resumed.model).load_state_dict(
                torch.load(tmp_path / "hardened.pt", weights_only=True)
            )
            assert torch.equal(resumed.model.eval()(images), outputs)
            resumed.model.load_state_dict(before)
            assert not any(layer.bias_steps is not None for layer in resumed._training.layers.values())
    beta = layer.norm.bias.detach().clone()
    trained.model.train()
    digits.run(trained, 2, optimizer, first=4)
    assert not torch.equal(layer.norm.bias, beta)


@pytest.mark.parametrize("method", SEARCHING)
def test_a_search_meets_its_budget_whatever_the_method_would_rather_have(method):
    trained = search(method, bits=2.2)
    digits.run(trained, 2)
    recipe = trained.harden()
    assert recipe.average_weight_bits <= 2.2
    assert any("moved to meet the budget" in entry.reason for entry in recipe.weights)


def test_a_recipe_of_a_post_training_search_gives_the_bits_of_methods_that_search_none():
    model, images = digits.trained(), digits.train_images()[0][:256]
    found = fx.search(model, [images], "torch-x86", mpq.Budget(average_weight_bits=3.5), activation_bits=8)
    trained = fx.Search(model, images[:8], "torch-x86", method="msqe", recipe=found)
    digits.run(trained, 2)
    recipe = trained.harden()
    assert {n: g.bits for n, g in recipe.items()} == {n: g.bits for n, g in found.items()}


def test_the_history_goes_to_tensorboard_and_names_every_site():
    trained = search("po2_gradient", record_every=2)
    digits.run(trained, 4)
    written = {}

    class Writer:
        def add_scalar(self, tag, value, step):
            written[tag, step] = value

    trained.history.log(Writer())
    assert written["mpq/bits/0.weight", 0] == 4
    assert ("mpq/thresholds/0", 2) in written
    assert ("mpq/controls/frozen", 2) in written


def test_training_at_the_hardened_grids_changes_weights_and_not_the_recipe():
    trained = search("po2_gradient")
    optimizer = digits.run(trained, 3)
    recipe = trained.harden()
    before = trained.float_model().state_dict()["0.weight"].clone()
    digits.run(trained, 3, optimizer, first=3)
    assert trained.harden() == recipe
    assert not torch.equal(trained.float_model().state_dict()["0.weight"], before)
    assert float(trained.penalty()) == 0


def test_the_float_model_is_of_the_users_own_class_with_the_trained_weights():
    trained = search("msqe")
    digits.run(trained, 2)
    found = trained.float_model()
    assert type(found) is type(digits.trained())
    assert set(found.state_dict()) == set(digits.trained().state_dict())
    assert not torch.equal(found[0].weight, digits.trained()[0].weight)


def test_a_model_with_functional_layers_trains_too():
    class Functional(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(6, 1, 3, 3) * 0.3)
            self.fc = nn.Linear(6 * 36, 10)

        def forward(self, x):
            return self.fc(torch.flatten(torch.relu(nn.functional.conv2d(x, self.weight)), 1))

    torch.manual_seed(0)
    images = digits.train_images()[0]
    trained = fx.Search(
        Functional(),
        images[:8],
        "torch-x86",
        method="msqe",
        weight_bits=widest("torch-x86"),
        activation_bits=8,
        calibration=[images[:64]],
    )
    digits.run(trained, 3)
    verification, *_ = convert(trained, trained.harden())
    assert verification.exact


def test_kept_batch_norms_train_and_convert():
    trained = search("msqe", batch_norms="keep")
    digits.run(trained, 5)
    recipe = trained.harden()
    verification, *_ = convert(trained, recipe)
    assert verification.exact


def test_parameter_groups_hold_every_parameter_once():
    trained = search("po2_gradient")
    groups = trained.parameter_groups(lr=0.1, weight_decay=1e-4)
    listed = [id(p) for group in groups for p in group["params"]]
    assert sorted(listed) == sorted(id(p) for p in trained.model.parameters())
    assert all(group["weight_decay"] == 0 for group in groups if group["name"] != "weights")


def test_a_diverging_training_is_stopped_with_site_and_step():
    trained = search("msqe", record_every=3)
    optimizer = digits.run(trained, 1)
    with torch.no_grad():
        next(p for n, p in trained.model.named_parameters() if n.endswith("4.layer.weight")).fill_(float("nan"))
    digits.run(trained, 2, optimizer, first=1)
    with pytest.raises(NonFiniteValues, match=r"step 1: the model's output is not finite, first at"):
        digits.run(trained, 1, optimizer, first=3)


def test_hardening_before_any_step_is_refused():
    with pytest.raises(MPQError, match="nothing has been learned yet"):
        search("msqe").harden()


def test_a_checkpoint_of_another_method_is_refused_with_both_names():
    state = search("msqe").state_dict()
    with pytest.raises(MPQError, match="checkpoint is of method 'msqe', and this search trains with 'po2_gradient'"):
        search("po2_gradient").load_state_dict(state)
    with pytest.raises(MPQError, match="no checkpoint of a search"):
        search("msqe").load_state_dict({"weights": 1})


def test_a_budget_below_the_smallest_candidate_is_refused_with_what_can_be_reached():
    with pytest.raises(InfeasibleBudget, match="smallest reachable value is 2"):
        search(SEARCHING[0], bits=1.5)


def test_several_bits_for_a_method_of_fixed_bits_are_refused():
    with pytest.raises(MPQError, match="method 'msqe' trains at fixed bits, and 5 sites"):
        fx.Search(digits.trained(), digits.train_images()[0][:8], "torch-x86", method="msqe", weight_bits=(2, 4))


def test_bits_that_the_target_lacks_are_refused():
    with pytest.raises(TargetError, match="none of 16 bits"):
        search("msqe", weight_bits=16)


def test_a_post_training_method_is_refused_with_those_that_train():
    with pytest.raises(MPQError, match=r"method 'ohq' does not train; those that do are .*msqe"):
        fx.Search(digits.trained(), digits.train_images()[0][:8], "torch-x86", method="ohq", weight_bits=8)


def test_hyper_parameters_come_with_the_method_as_a_value():
    trained = search(MsqeTraining(outlier_sigma=None, stable_from=None))
    digits.run(trained, 1)
    assert trained.method.outlier_sigma is None


def _replica(rank, folder):
    """Train with every method, as one of two processes; what each learned is written to the folder.

    Of 4 steps of a search, choices are final after 2 (fdqmp: 2), and hardening moves nothing.
    """
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    for method in METHODS:
        _trained_replica(rank, folder, method)
    torch.distributed.destroy_process_group()


def _trained_replica(rank, folder, method):
    trained = search(method, steps=4)
    replica = nn.parallel.DistributedDataParallel(trained.model)
    optimizer = torch.optim.SGD(trained.parameter_groups(lr=0.005), momentum=0.9)
    for step, (x, y) in enumerate(digits.batches(rank)[:6]):
        if step == 4:
            learned = {k: v.clone() for k, v in trained.model.state_dict().items() if "learned_" in k}
            assert trained._settled == trained.method.searches_bits
            recipe = trained.harden()
            assert all("learned by" in e.reason or "only candidate" in e.reason for e in recipe.sites)
        loss = nn.functional.cross_entropy(replica(x), y) + trained.penalty()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        trained.step()
    learned |= {k: v for k, v in trained.model.state_dict().items() if k.endswith(".weight")}
    torch.save(learned, f"{folder}/{method}{rank}.pt")
    with open(f"{folder}/{method}{rank}.json", "w") as file:
        file.write(recipe.to_json())


@pytest.fixture(scope="module")
def of_two_replicas(tmp_path_factory):
    folder = tmp_path_factory.mktemp("replicas")
    multiprocessing.spawn(_replica, (str(folder),), nprocs=2)
    return folder


@pytest.mark.parametrize("method", METHODS)
def test_two_replicas_have_the_same_grids_and_weights_before_and_after_hardening(of_two_replicas, method):
    first, second = (json.loads((of_two_replicas / f"{method}{rank}.json").read_text()) for rank in (0, 1))
    assert first == second
    a, b = (torch.load(of_two_replicas / f"{method}{rank}.pt", weights_only=True) for rank in (0, 1))
    assert a
    assert all(torch.equal(a[key], b[key]) for key in a)


def test_a_deep_copy_trains_on_its_own():
    trained = search("po2_gradient")
    digits.run(trained, 1)
    twin = copy.deepcopy(trained.model)
    x = digits.test_images()[0][:4]
    trained.model.eval()
    twin.eval()
    assert np.array_equal(trained.model(x).detach(), twin(x).detach())


def test_fake_quantization_can_be_switched_off_and_on_as_in_torch_ao():
    from torch.ao.quantization import disable_fake_quant, enable_fake_quant

    trained = search("msqe", weight_bits=2)
    digits.run(trained, 1)
    x = digits.test_images()[0][:16]
    trained.model.eval()
    on_grid = trained.model(x)
    trained.model.apply(disable_fake_quant)
    torch.testing.assert_close(trained.model(x), trained.float_model()(x), rtol=1e-4, atol=1e-4)
    trained.model.apply(enable_fake_quant)
    assert torch.equal(trained.model(x), on_grid)

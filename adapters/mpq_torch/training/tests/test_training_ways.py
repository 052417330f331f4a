"""A search trains on other devices, compiled, checkpointed, in half precision, in copies, and with frozen layers."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.utils.checkpoint import checkpoint

import mpq_plugins as mpq
from mpq_plugins.errors import MPQError, NonFiniteValues
from mpq_plugins.training.starting_grid import saturating
from mpq_torch import fx
from mpq_torch.training.calibration import observe_in_training
from mpq_torch.training.tests import digits
from mpq_torch.training.tests.test_search import METHODS, search


def steps(trained, batches, optimizer=None, model=None):
    optimizer = optimizer or torch.optim.SGD(trained.parameter_groups(lr=0.005), momentum=0.9)
    for x, y in batches:
        y_hat = trained.model(x) if model is None else model(x)
        (F.cross_entropy(y_hat, y) + trained.penalty()).backward()
        optimizer.step()
        optimizer.zero_grad()
        trained.step()
    return optimizer


@pytest.mark.parametrize("target", ["torch-x86", "generic-po2-per-channel"])
@pytest.mark.parametrize("method", METHODS)
def test_after_a_move_to_another_device_nothing_is_left_behind_and_nothing_is_read_back(method, target):
    """The meta device raises for tensors on two devices, and whatever would read a value."""
    trained = search(method, target=target, per_channel="channel" in target, record_every=1000)
    steps(trained, digits.batches(0)[:1])
    trained.model.to("meta")
    x, y = torch.randn(8, 1, 8, 8, device="meta"), torch.zeros(8, dtype=torch.int64, device="meta")
    steps(trained, [(x, y)] * 2)
    assert {p.device.type for p in trained.model.parameters()} == {"meta"}


@pytest.mark.parametrize("method", ["hmq", "sdq", "fdqmp"])
def test_activations_that_are_searched_too_move_and_read_nothing_back(method):
    budget = mpq.Budget(average_weight_bits=4, activation_bytes=400)
    shared = {"target": "generic-po2-per-channel", "per_channel": True, "steps": 100, "record_every": 1000}
    trained = fx.Search(digits.trained(), digits.test_images()[0][:64], budget=budget, method=method, **shared)
    assert any(len(slot.bits) > 1 for slot in trained.plan.slots.values() if slot.kind == "activation")
    steps(trained, digits.batches(0)[:1])
    trained.model.to("meta")
    x, y = torch.randn(8, 1, 8, 8, device="meta"), torch.zeros(8, dtype=torch.int64, device="meta")
    steps(trained, [(x, y)] * 2)
    assert {p.device.type for p in trained.model.parameters()} == {"meta"}


@pytest.mark.parametrize("method", METHODS)
def test_at_fixed_grids_nothing_is_read_back_either(method):
    trained = search(method, record_every=1000)
    steps(trained, digits.batches(0)[:1])
    trained.harden()
    trained.model.to("meta")
    x, y = torch.randn(8, 1, 8, 8, device="meta"), torch.zeros(8, dtype=torch.int64, device="meta")
    steps(trained, [(x, y)] * 2)


def few_layers():
    """A folded batch norm with its clamp, and a linear, so that it takes little time to compile."""
    convolution = digits.trained()[:3]
    torch.manual_seed(0)
    return nn.Sequential(*convolution, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 10))


@pytest.mark.parametrize(("method", "hardened"), [("msqe", True), ("hmq", False)])
def test_the_model_compiles_as_one_graph_before_and_after_its_grids_are_fixed(method, hardened):
    torch._dynamo.reset()
    plain, whole = (search(method, model=few_layers(), record_every=1000) for _ in range(2))
    batches = digits.batches(0)[:3]
    if hardened:
        for trained in (plain, whole):
            steps(trained, batches[:1])
            trained.harden()
    steps(plain, batches[1:])
    steps(whole, batches[1:], model=torch.compile(whole.model, backend="aot_eager", fullgraph=True))
    wanted, found = plain.model.state_dict(), whole.model.state_dict()
    for key, value in wanted.items():
        torch.testing.assert_close(found[key], value, rtol=1e-3, atol=1e-4, msg=key)


@pytest.mark.parametrize("batch_norms", ["fold", "keep"])
@pytest.mark.parametrize("method", METHODS)
def test_a_checkpointed_pass_gives_the_same_gradients_and_the_same_state(method, batch_norms):
    x, y = digits.batches(0)[0]
    found = []
    for model in (lambda m: m(x), lambda m: checkpoint(m, x, use_reentrant=False)):
        trained = search(method, batch_norms=batch_norms)
        (F.cross_entropy(model(trained.model), y) + trained.penalty()).backward()
        gradients = {n: p.grad for n, p in trained.model.named_parameters() if p.grad is not None}
        kept = batch_norms == "keep"  # a float norm that torch runs twice moves its statistics twice
        buffers = {n: b for n, b in trained.model.named_buffers() if not (kept and ".norm." in n)}
        found.append(gradients | buffers)
    assert set(found[0]) == set(found[1])
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bfloat16", "float16"])
@pytest.mark.parametrize("method", METHODS)
def test_half_precision_with_a_scaled_loss(method, dtype):
    trained = search(method, record_every=1)
    optimizer, scaler = torch.optim.SGD(trained.parameter_groups(lr=0.005)), torch.amp.GradScaler("cpu")
    for x, y in digits.batches(0)[:3]:
        with torch.autocast("cpu", dtype):
            loss = F.cross_entropy(trained.model(x), y) + trained.penalty()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        trained.step()
    assert trained.harden().average_weight_bits <= 4


def test_an_overflow_in_half_precision_is_named_with_its_step():
    """The scaled loss keeps the weights finite, so that only the look at the output can tell."""
    trained = search("msqe", record_every=2)
    optimizer, scaler = torch.optim.SGD(trained.parameter_groups(lr=0.005)), torch.amp.GradScaler("cpu")

    def step(x, y):
        with torch.autocast("cpu", torch.float16):
            loss = F.cross_entropy(trained.model(x), y) + trained.penalty()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        trained.step()

    x, y = digits.batches(0)[0]
    step(x, y)
    with torch.no_grad():
        trained._training.layers["8"].layer.bias[0] = 1e5  # more than float16 holds
    step(x, y)
    with pytest.raises(NonFiniteValues, match=r"step 1: the model's output is not finite, first at 8"):
        step(x, y)


def test_channels_last_changes_no_weight_by_more_than_rounding():
    plain, last = search("msqe"), search("msqe")
    last.model.to(memory_format=torch.channels_last)
    batches = digits.batches(0)[:2]
    steps(plain, batches)
    steps(last, [(x.to(memory_format=torch.channels_last), y) for x, y in batches])
    for first, second in zip(plain.model.parameters(), last.model.parameters(), strict=True):
        torch.testing.assert_close(first, second, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("method", ["hmq", "fdqmp"])
def test_gradients_of_two_passes_add_up(method):
    x, y = digits.batches(0)[0]
    found = []
    for passes in (1, 2):
        trained = search(method, batch_norms="freeze")  # so that both passes compute the same
        for _ in range(passes):
            (F.cross_entropy(trained.model(x), y) / passes).backward()
        found.append({n: p.grad for n, p in trained.model.named_parameters() if p.grad is not None})
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient, rtol=1e-5, atol=1e-7, msg=name)


@pytest.mark.parametrize("method", METHODS)
def test_a_step_may_be_taken_after_several_passes(method):
    trained = search(method)
    optimizer = torch.optim.SGD(trained.parameter_groups(lr=0.005))
    for x, y in digits.batches(0)[:2]:
        (F.cross_entropy(trained.model(x), y) / 2 + trained.penalty() / 2).backward()
    optimizer.step()
    trained.step()
    trained.check_finite()
    assert trained.harden().average_weight_bits <= 4


def test_an_averaged_model_follows_and_evaluates():
    trained = search("hmq")
    average = torch.optim.swa_utils.AveragedModel(
        trained.model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn()
    )
    optimizer = steps(trained, digits.batches(0)[:1])
    average.update_parameters(trained.model)
    steps(trained, digits.batches(1)[:1], optimizer)
    average.update_parameters(trained.model)
    average.eval()
    with torch.no_grad():
        assert torch.isfinite(average(digits.test_images()[0][:8])).all()
    copies = dict(average.module.named_parameters())
    assert all(copies[name] is not p for name, p in trained.model.named_parameters())


@pytest.mark.parametrize("method", METHODS)
def test_frozen_layers_stay_as_they_are(method):
    trained = search(method)
    frozen = trained._training.layers["0"].layer.weight.requires_grad_(False)
    before = frozen.clone()
    steps(trained, digits.batches(0)[:2])
    assert torch.equal(frozen, before)
    assert not torch.equal(trained.float_model()[4].weight, digits.trained()[4].weight)


def test_sharded_parameters_are_refused_by_name(tmp_path):
    from torch.distributed.fsdp import fully_shard

    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        trained = search("msqe")
        for layer in trained._training.layers.values():
            fully_shard(layer, mesh=init_device_mesh("cpu", (1,)))
        with pytest.raises(MPQError, match="fully_shard"):
            trained.model(digits.batches(0)[0][0])
    finally:
        torch.distributed.destroy_process_group()


def test_a_checkpoint_of_the_layout_before_banks_is_refused():
    trained = search("hmq")
    state = trained.state_dict()
    state["model"] = {key.replace("mpq_preparation.banks.0", "0.quantizer"): v for key, v in state["model"].items()}
    state["model"] = {k: v for k, v in state["model"].items() if not k.startswith("mpq_preparation")}
    with pytest.raises(MPQError, match="keeps every site's grid by itself"):
        trained.load_state_dict(state)


def test_a_copy_of_a_model_in_training_goes_on_by_itself():
    trained = search("sdq")
    steps(trained, digits.batches(0)[:2])
    twin = copy.deepcopy(trained.model)
    x = digits.batches(0)[2][0]
    assert torch.equal(twin(x), trained.model(x))


@pytest.mark.parametrize("method", METHODS)
def test_a_network_whose_statistics_describe_no_batch_starts_on_grids_that_hold_its_activations(method):
    torch.manual_seed(0)
    untrained = digits.network()
    with torch.no_grad():
        untrained[0].weight.mul_(0.01)  # as good as nothing by running statistics, and one deviation by a batch's own
    images = digits.train_images()[0][:256]
    shared = {"target": "torch-x86", "method": method, "activation_bits": 8, "steps": 60, "calibration": [images]}
    if method in ("msqe", "po2_gradient"):
        trained = fx.Search(untrained, images[:8], weight_bits=4, **shared)
    else:
        trained = fx.Search(untrained, images[:8], budget=mpq.Budget(average_weight_bits=4), **shared)
    seen = observe_in_training(trained._training, [(images,)])
    grids = {name: quantizer.grid() for name, quantizer in trained._training.quantizers.items()}
    assert not saturating(grids, seen)
    losses = []
    optimizer = torch.optim.SGD(trained.parameter_groups(lr=0.05), momentum=0.9)
    for x, y in [batch for seed in range(3) for batch in digits.batches(seed)][:50]:
        loss = F.cross_entropy(trained.model(x), y)
        losses.append(float(loss.detach()))
        (loss + trained.penalty()).backward()
        optimizer.step()
        optimizer.zero_grad()
        trained.step()
    trained.check_finite()
    assert sum(losses[-5:]) / 5 < 0.9 * losses[0]

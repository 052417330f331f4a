"""Searches whose pieces run side by side: every number as of one thread."""

import threading

import numpy as np
import pytest
import torch
from torch import nn

from mpq_plugins import Budget
from mpq_plugins.graph.sites import take_sites
from mpq_plugins.search.measurement import Measurements
from mpq_torch import fx
from mpq_torch.reader.reading import read_model
from mpq_torch.runner.torch_runner import TorchRunner
from mpq_torch.tests.networks import Residual, Shared, network


@pytest.fixture
def threads():
    """Sets the number of torch's threads, until the end of the test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def numbers(measured):
    """All that was measured."""
    sums = [measured.output_fisher(site.name) for site in measured.inventory.weights]
    sums += [measured.covariance(site.name) for site in measured.inventory.weights]
    for site in measured.inventory.activations:
        bins = measured.histogram(site.name).to_dict()
        sums += [measured.gradient_energy(site.name), bins["first"], bins["second"]]
    return sums


@pytest.mark.parametrize("kind", [Residual, Shared])
def test_what_is_measured_is_the_same_to_the_bit(kind, threads):
    model, x = network(kind, samples=24)
    reading, found = read_model(model, (x,)), []
    for count in (1, 4):
        threads(count)
        chunks = [(x[:16],), (x[16:],)]
        found.append(Measurements(reading.graph, take_sites(reading.graph), reading.runner, chunks, False))
        assert found[-1].workers == count == torch.get_num_threads()
    for one, four in zip(*map(numbers, found), strict=True):
        np.testing.assert_array_equal(one, four)


def test_grids_and_weights_are_the_same_to_the_bit(threads):
    model, x = network(Residual, samples=24)
    found = []
    for count in (1, 3):
        threads(count)
        recipe = fx.search(model, [x], "generic-po2-per-channel", Budget(average_weight_bits=4), range(2, 9), 8)
        found.append((recipe, fx.constrain(model, recipe, x.split(5)).state_dict()))
    assert found[0][0].sites == found[1][0].sites
    for name, tensor in found[0][1].items():
        assert torch.equal(tensor, found[1][1][name])


RAN_IN = set()


class Watched(nn.Module):
    """A part that stays in float, and that notes in which threads it runs."""

    def forward(self, x):
        RAN_IN.add(threading.get_ident())
        return torch.linalg.svdvals(x)


def test_code_of_the_user_s_runs_in_the_thread_of_the_call_alone(threads):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.ReLU(), Watched(), nn.Flatten(), nn.Linear(12, 3)).eval()
    x = torch.randn(80, 2, 6, 6)
    threads(2)
    recipe = fx.search(model, [x], "generic-po2", weight_bits=4, activation_bits=8, keep_float=["2"])
    fx.constrain(model, recipe, x.split(16))
    assert {threading.get_ident()} == RAN_IN


def test_gradients_of_several_directions_at_once_do_not_meet():
    run = TorchRunner()
    with run.recording():
        x = run.watched(torch.tensor([1.0, 2.0]))
        inside = 3 * x
        output = inside * inside
        meet, seen = threading.Barrier(2, timeout=5), {}

        def use(name, index, gradient):
            if index:
                meet.wait()  # both are inside at the same time
            seen[name, index] = gradient.tolist()

        with run.gradients([output], [x, inside]) as take:
            both = [
                threading.Thread(target=take, args=([np.array([factor, 0.0])], lambda i, g, f=factor: use(f, i, g)))
                for factor in (1.0, 10.0)
            ]
            for thread in both:
                thread.start()
            for thread in both:
                thread.join()
    assert seen == {(1.0, 1): [6, 0], (10.0, 1): [60, 0], (1.0, 0): [18, 0], (10.0, 0): [180, 0]}

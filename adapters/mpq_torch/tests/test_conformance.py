"""The conformance kit notices where a method's arithmetic on torch is not that on NumPy, or its gradient is wrong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from mpq_plugins.papers.hmq import Hmq
from mpq_plugins.papers.msqe_training import MsqeTraining
from mpq_plugins.testing import agreement_checks
from mpq_plugins.testing.nonconforming import Nonconforming
from mpq_plugins.testing.sample_slots import cases
from mpq_torch.plugin import conformance

TORCH = {"torch": conformance}


class ByDeviation(MsqeTraining):
    """Scales by the arrays' own standard deviation, which torch divides by n - 1 and NumPy by n."""

    def grids(self, ops, bank, x, parameters, state, training):
        (grid,), updates = super().grids(ops, bank, x, parameters, state, training)
        return [replace(grid, step=grid.step / (x.std() + 1.0)) if training else grid], updates


class OffInEvaluation(MsqeTraining):
    """Evaluates off the grid by a hair, on torch alone: less than rounding allows elsewhere."""

    def grids(self, ops, bank, x, parameters, state, training):
        (grid,), updates = super().grids(ops, bank, x, parameters, state, training)
        off = not training and not isinstance(grid.step, np.ndarray)
        return [replace(grid, step=grid.step * (1 + 1e-6)) if off else grid], updates


class Plain(Hmq):
    """Calls NumPy on what may be a tensor."""

    def grids(self, ops, bank, x, parameters, state, training):
        (grid,), updates = super().grids(ops, bank, x, parameters, state, training)
        return [replace(grid, step=np.clip(grid.step, -1e9, 1e9))], updates


class Numb(Hmq):
    """A penalty that passes back a tenth of its gradient."""

    def penalty(self, ops, spent, state):
        penalty = super().penalty(ops, spent, state)
        return 0.1 * penalty + 0.9 * ops.stop_gradient(penalty)


class Doubled:
    """Another framework, whose gradients are those of torch but for one."""

    OPS, tensor = conformance.OPS, staticmethod(conformance.tensor)

    def gradients(self, function, inputs):
        found, results = conformance.gradients(function, inputs)
        return {name: g * 2 if name == "logits" else g for name, g in found.items()}, results


def test_a_forward_pass_that_differs_from_numpy_is_named():
    method = ByDeviation()
    with pytest.raises(Nonconforming, match=r"'msqe' on the weight, .*: quantize in torch is not that of NumPy"):
        agreement_checks.check_agreement(method, cases(method)[0], TORCH)


def test_so_is_an_evaluation_off_the_grid():
    method = OffInEvaluation()
    with pytest.raises(Nonconforming, match="evaluation in torch is not on the grid that NumPy gives"):
        agreement_checks.check_agreement(method, cases(method)[0], TORCH)


def test_a_method_that_calls_numpy_is_told_to_use_ops():
    method = Plain()
    with pytest.raises(Nonconforming, match=r"runs in NumPy and not in torch: .*; use ops and operators alone"):
        agreement_checks.check_agreement(method, cases(method)[0], TORCH)


def test_a_penalty_with_a_wrong_gradient_is_named():
    method = Numb()
    with pytest.raises(Nonconforming, match=r"gradient of the penalty at a cost of 11 .* is not its central"):
        agreement_checks.check_penalty_gradients(method, cases(method)[0], TORCH)


def test_a_gradient_that_differs_between_frameworks_is_named():
    method = Hmq()
    with pytest.raises(Nonconforming, match="gradient of 'logits' in other is not that of torch"):
        agreement_checks.check_agreement(method, cases(method)[0], {**TORCH, "other": Doubled()})


def test_a_network_is_the_same_for_equal_seeds_and_leaves_the_global_seed_alone():
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    (first, x), (second, other) = conformance.network(3), conformance.network(3)
    assert torch.equal(torch.rand(1), expected)
    np.testing.assert_array_equal(x, other)
    for a, b in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(a, b)

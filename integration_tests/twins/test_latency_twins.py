"""One network, two frameworks, one device: its table does not know which framework listed the workloads."""

from __future__ import annotations

import pytest
import torch

import mpq_plugins as mpq
import mpq_tfmot
from integration_tests.twins.test_twins import NAMES, Twin, keras_twin
from mpq_plugins.builtin.bit_array import NAME as ANALYTIC
from mpq_plugins.costs.cost_models import cost_of
from mpq_torch import fx


@pytest.fixture(autouse=True)
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv("MPQ_CACHE_DIR", str(tmp_path))


def test_both_adapters_describe_the_same_work_to_a_device():
    example = torch.zeros(1, 3, 9, 9)
    in_torch = fx.measure_latency(Twin().eval(), example, ANALYTIC, progress=False)
    in_keras = mpq_tfmot.measure_latency(keras_twin(), None, ANALYTIC, progress=False)
    for name, other in NAMES.items():
        key = f"{name}.weight"
        if key in in_torch.milliseconds:
            assert in_torch.milliseconds[key] == in_keras.milliseconds[f"{other}.weight"], name
    sites = fx.inventory(Twin().eval(), example), mpq_tfmot.inventory(keras_twin())
    whole = [cost_of(t, i, {s.name: 4 for s in i}) for t, i in zip((in_torch, in_keras), sites, strict=True)]
    assert whole[0] == pytest.approx(whole[1])
    assert whole[0] > 0


def test_a_budget_of_analytic_latency_gives_both_the_same_least_value():
    example = torch.zeros(2, 3, 9, 9).normal_(generator=torch.Generator().manual_seed(0))
    torch_model, keras_model = Twin().eval(), keras_twin()
    tables = (
        fx.measure_latency(torch_model, example, ANALYTIC, progress=False),
        mpq_tfmot.measure_latency(keras_model, None, ANALYTIC, progress=False),
    )
    budget, least = mpq.Budget(latency_ms=1e-9), []
    with pytest.raises(mpq.InfeasibleBudget) as error:
        fx.search(torch_model, [example], ANALYTIC, budget, method="ohq", latency=tables[0], progress=False)
    least.append(error.value.reachable["latency_ms"])
    images = example.permute(0, 2, 3, 1).numpy()
    with pytest.raises(mpq.InfeasibleBudget) as error:
        mpq_tfmot.search(keras_model, images, ANALYTIC, budget, method="ohq", latency=tables[1], progress=False)
    least.append(error.value.reachable["latency_ms"])
    assert least[0] == pytest.approx(least[1])

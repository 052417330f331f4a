from __future__ import annotations

import re

import pytest

from mpq_plugins.allocation.allocator import allocate
from mpq_plugins.costs.budget import Budget
from mpq_plugins.costs.cost_models import COST_MODELS, cost_of
from mpq_plugins.tests.allocation_problems import at_bits, chain

NUMBER = r"([-+\d.,e]+)"


@pytest.mark.parametrize("seed", range(6))
def test_every_reason_is_true(seed):
    inventory, candidates, losses = chain(8, seed=seed)
    limits = {name: 0.9 * at_bits(inventory, 4, name) for name in ("bops", "weight_bytes", "activation_bytes")}
    here = allocate(inventory, candidates, losses, Budget(**limits))
    seen = set()

    def number(text):
        return float(text.replace(",", ""))

    for site, reason in here.reasons.items():
        own = here.bits[site]
        options = list(candidates[site])
        assert re.match(rf"{own} bits(, its (least|most))?: ", reason)
        assert (", its least" in reason) == (own == min(options))
        assert (", its most" in reason) == (own == max(options))
        now = losses[site][options.index(own)]
        if match := re.search(rf"(\d+) would (lower|raise) the loss by {NUMBER}", reason):
            other = int(match[1])
            change = losses[site][options.index(other)] - now
            assert abs(change) == pytest.approx(number(match[3]), rel=0.006)
            assert (change < 0) == (match[2] == "lower")
            swapped = {n: cost_of(COST_MODELS[n], inventory, here.bits | {site: other}) for n in limits}
            if worth := re.search(rf"(less|more) than the {NUMBER} that (.*) c", reason):
                seen.add(worth[1])
                assert (abs(change) < number(worth[2])) == (worth[1] == "less")
                amounts = dict(part.split(" ", 1)[::-1] for part in worth[3].split(" and "))
                total = 0.0
                for name, amount in amounts.items():
                    resource = name.replace(" ", "_")
                    if resource == "activation_bytes":
                        size = inventory[site].elements * abs(other - own) / 8
                        assert number(amount) == pytest.approx(size, rel=1e-3)
                        continue
                    difference = abs(swapped[resource] - here.costs[resource].value)
                    assert number(amount) == pytest.approx(difference, rel=1e-3)
                    total += difference * here.shadow_prices[resource]
                if "activation bytes" not in amounts:
                    assert total == pytest.approx(number(worth[2]), rel=0.006)
            else:
                seen.add("needs")
                needs = re.search(rf"needs {NUMBER} more (.*), and {NUMBER} are left", reason)
                assert number(needs[1]) > number(needs[3])
                assert any(swapped[name] > limit for name, limit in limits.items())
                resource = needs[2].replace(" ", "_")
                if resource != "activation_bytes":
                    assert number(needs[1]) == pytest.approx(swapped[resource] - here.costs[resource].value, rel=1e-3)
                    assert number(needs[3]) == pytest.approx(limits[resource] - here.costs[resource].value, rel=1e-3)
        else:
            seen.add("lowest")
            assert reason.endswith("no candidate has a lower loss")
            assert now == min(losses[site])
    assert "less" in seen

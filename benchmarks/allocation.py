"""Seconds and proven gap of the allocation: ``python -m benchmarks.allocation [--sites N] [--seed S]``.

The instance: N weights of random size, MACs and latency, losses that fall about fourfold with each bit,
7 bit-widths, and 3 budgets (weight bytes, BOPs, latency) that all bind.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from mpq_plugins.allocation.allocator import allocate
from mpq_plugins.costs.budget import Budget
from mpq_plugins.costs.cost_models import COST_MODELS, cost_of
from mpq_plugins.costs.latency_table import LatencyTable
from mpq_plugins.inventory import Inventory, Site

BITS = tuple(range(2, 9))


def instance(
    sites: int, seed: int
) -> tuple[Inventory, dict[str, tuple[int, ...]], dict[str, np.ndarray], Budget, LatencyTable]:
    """Inventory, candidates, losses, a budget of which every limit binds, and the latency table."""
    rng = np.random.default_rng(seed)
    elements = np.exp(rng.uniform(np.log(100), np.log(1e6), sites)).astype(int)
    macs = (elements * np.exp(rng.uniform(0, np.log(1000), sites))).astype(int)
    inventory = Inventory(
        Site(f"layer{at}.weight", "weight", "linear", (int(elements[at]),), macs=int(macs[at])) for at in range(sites)
    )
    names = [site.name for site in inventory]
    bits = np.array(BITS)
    noise = np.exp(rng.normal(0, 0.2, (sites, len(bits))))
    loss = np.sort(np.exp(rng.normal(0, 2, (sites, 1))) * 4.0**-bits * noise, axis=1)[:, ::-1]
    milliseconds = macs[:, None] * 1e-9 * (0.3 + bits / 8 * rng.uniform(0.3, 1, (sites, 1)))
    milliseconds = np.sort(milliseconds * np.exp(rng.normal(0, 0.1, milliseconds.shape)), axis=1)
    table = LatencyTable(
        {n: dict(zip(BITS, row, strict=True)) for n, row in zip(names, milliseconds.tolist(), strict=True)}
    )
    costs = {
        "weight_bytes": elements[:, None] * bits / 8,
        "bops": macs[:, None] * bits * 32.0,
        "latency_ms": milliseconds,
    }
    # limits that bind together: just below what the best choice at some prices costs
    shares = {"weight_bytes": 0.3, "bops": 0.2, "latency_ms": 0.2}
    priced = loss + sum(shares[n] * loss.mean() / cost.mean() * cost for n, cost in costs.items())
    best = priced.argmin(axis=1)
    limits = {n: 0.9999 * float(cost[np.arange(sites), best].sum()) for n, cost in costs.items()}
    losses = dict(zip(names, loss, strict=True))
    return inventory, dict.fromkeys(names, BITS), losses, Budget(**limits), table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sites", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    inventory, candidates, losses, budget, table = instance(arguments.sites, arguments.seed)
    models = {**COST_MODELS, "latency_ms": table}
    start, busy = time.perf_counter(), time.process_time()
    allocation = allocate(inventory, candidates, losses, budget, models)
    seconds, busy = time.perf_counter() - start, time.process_time() - busy
    size = f"{arguments.sites} sites x {len(BITS)} bit-widths x {len(budget.limits())} budgets"
    print(f"{size}: {seconds:.2f} s, {busy:.2f} s of CPU")
    print(f"loss {allocation.loss:.8g}, proven bound {allocation.bound:.8g}, gap {100 * allocation.gap:.6f} %")
    for name, cost in allocation.costs.items():
        counted = cost_of(models[name], inventory, allocation.bits)
        print(f"{name}: {counted:.10g} of {cost.limit:.10g} {cost.unit}, shadow price {cost.price:.4g}")
    print(f"average bits {np.mean(list(allocation.bits.values())):.3f}")


if __name__ == "__main__":
    main()

"""ACME's accelerator, its energy, and how fast it is."""

from __future__ import annotations

from importlib.resources import files

from mpq_plugins import CostRow, CostTerm, Device, Target, hookimpl

PICOJOULES_PER_BIT = 0.25


class Energy:
    """Picojoules of one sample: so much for every bit of a weight in every multiplication."""

    unit = "pJ"

    def rows(self, inventory):
        terms = [
            CostTerm((weight.name,), lambda bits, macs=weight.macs: PICOJOULES_PER_BIT * macs * bits)
            for weight in inventory.weights
        ]
        return [CostRow("all weights", tuple(terms))]


@hookimpl
def mpq_register_targets(register):
    register(Target.from_json(files("mpq_acme").joinpath("acme-npu.json").read_bytes(), "acme-npu.json"))


@hookimpl
def mpq_register_cost_models(register):
    register("acme_energy", Energy())


@hookimpl
def mpq_measure_latency(target, workload):
    """A device would be asked here; this one takes a microsecond, and one more for every bit of a weight."""
    if target.name != "acme-npu":
        return None
    return 1e-6 * (1 + (getattr(workload, "weight_bits", None) or 0))


def as_run(workload):
    """The device has kernels for layers alone: the rest happens on the way, and activations have 8 bits."""
    return workload.at(workload.weight_bits, 8) if workload.weight else None


@hookimpl
def mpq_describe_device(target):
    """Which device it is, which workloads it runs alike, and what one takes."""
    if target.name != "acme-npu":
        return None
    facts = {"board": "rev 2", "driver": "1.4"}
    return Device(target.name, facts, as_run, energy=lambda workload: 1e-12 * workload.macs * workload.weight_bits)

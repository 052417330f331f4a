"""The networks of both frameworks, and what is recorded of each; a framework is imported when it is asked for."""

from __future__ import annotations

FRAMEWORKS = ("torch", "keras")
CONSTRAINED = {
    "torch": {"torch-x86": 10, "torch-qnnpack": 11},
    "keras": {"litert-po2": 10, "generic-po2-per-channel": 11},
}
"""By target the seed of the recipe that weights and biases are rounded for with data."""


def names(framework):
    """The names of all networks of a framework."""
    return list(_networks(framework).NETWORKS)


def names_of_constrained(framework):
    """The names of those that are constrained with data."""
    return _networks(framework).ROUNDED


def observed(framework, name):
    """What is computed from a network, some recipes, and integer codes."""
    networks = _networks(framework)
    model, inputs, _ = networks.build(name)
    if framework == "keras":
        from integration_tests.oracle import keras_case

        return keras_case.observe(model, inputs)
    from integration_tests.oracle import torch_case

    without = networks.without(name)
    seeds = {target: numbers for target, numbers in torch_case.SEEDS.items() if target not in without}
    return torch_case.observe(model, inputs, seeds, networks.keep_float(name))


def constrained(framework, name):
    """What ``constrain`` makes of a network with calibration data."""
    networks = _networks(framework)
    model, inputs, calibration = networks.build(name)
    if framework == "keras":
        from integration_tests.oracle import keras_case

        return keras_case.constrained(model, calibration, CONSTRAINED[framework])
    from integration_tests.oracle import torch_case

    return torch_case.constrained(model, inputs, calibration, CONSTRAINED[framework], networks.keep_float(name))


def _networks(framework):
    if framework == "torch":
        from integration_tests.oracle import torch_networks

        return torch_networks
    from integration_tests.oracle import keras_networks

    return keras_networks

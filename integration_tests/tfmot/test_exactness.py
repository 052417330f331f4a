"""The LiteRT model gives exactly the numbers of the simulation: every pair of bits, with XNNPACK and without."""

import pytest

from integration_tests.tfmot.recipes import clipping_recipe
from mpq_tfmot import litert, simulate, verify
from mpq_tfmot.tests.networks import NETWORKS, network, samples

TARGETS = ["litert-po2", "litert-po2-reference", "litert-po2-optimized"]


def verified(kind, target, weight_bits, activation_bits, per_channel):
    model = network(kind)
    x = samples(model, count=9)
    recipe = clipping_recipe(model, x, target, weight_bits, activation_bits, per_channel)
    # inputs past the thresholds too
    return verify(litert.export(model, recipe), simulate(model, recipe), x * 2)


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("weight_bits", range(2, 9))
def test_every_pair_of_bits_is_exact_on_a_residual_or_a_depthwise_network(target, weight_bits):
    for activation_bits in range(2, 9):
        if target != TARGETS[0] and (weight_bits + activation_bits) % 3:  # every pair on one, a third on the others
            continue
        kind = ("residual", "mobile")[(weight_bits + activation_bits // 2) % 2]
        per_channel = (weight_bits + activation_bits) % 2 == 0
        verified(kind, target, weight_bits, activation_bits, per_channel).raise_if_different()


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("kind", NETWORKS)
@pytest.mark.parametrize(
    ("weight_bits", "activation_bits", "per_channel"), [(8, 8, False), (8, 8, True), (2, 3, True), (5, 6, False)]
)
def test_every_kind_of_network_is_exact(kind, target, weight_bits, activation_bits, per_channel):
    verified(kind, target, weight_bits, activation_bits, per_channel).raise_if_different()

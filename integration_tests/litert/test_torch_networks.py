"""The networks that benchmarks.torch_litert measures, thin: exact on both kinds of kernels."""

import pytest
import torch

from benchmarks.cifar import CifarResNet
from benchmarks.torch_litert import at_bits
from benchmarks.torch_networks import MobileNetV2, UNet, settled
from mpq_torch import fx, litert

SIZE = (3, 32, 32)
NETWORKS = {
    "resnet": lambda: CifarResNet(1),
    "mobilenet_v2": lambda: MobileNetV2(10, ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 2, 2)), 64),
    "unet, transposed": lambda: UNet(True, (8, 16, 24)),
    "unet, nearest": lambda: UNet(False, (8, 16, 24)),
}


@pytest.mark.parametrize("target", ["litert-po2", "litert-po2-reference", "litert-po2-optimized"])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_torch_network_is_exact_at_2_to_8_bits(name, target):
    torch.manual_seed(0)
    model, images = settled(NETWORKS[name](), SIZE, batch=4), torch.randn(3, *SIZE)
    widest = fx.search(model, [images], target, weight_bits=8, activation_bits=8, progress=False)
    for bits in (2, 4, 5, 8):
        recipe = at_bits(widest, bits)
        found = litert.verify(litert.export(model, recipe), model, [images, 1.5 * images], recipe)
        found.raise_if_different()
        assert found.elements == {"resnet": 60, "mobilenet_v2": 60}.get(name, 6 * 3 * 32 * 32)


def test_thresholds_stay_where_bits_change():
    model, images = settled(NETWORKS["resnet"](), SIZE, batch=4), torch.randn(3, *SIZE)
    widest = fx.search(model, [images], "litert-po2", weight_bits=8, activation_bits=8, progress=False)
    for site, grid in at_bits(widest, 3).items():
        assert grid.bits == 3
        assert list(grid.exponents) == list(widest[site].exponents)
